"""What selections are made of, beside all pairs they chose from: the numbers of the table, the figure and the report."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from analysis import drawing
from analysis.logs import Logs
from analysis.usable import Run, label, of_data, of_scorer, one_budget, usable
from qaq.composition import order
from qaq.evaluate.statistics import Z95

FACETS = ("source", "query words", "answer words", "language", "topic")


class Value(NamedTuple):
    """One value of a facet: pairs that have it, in the pool and in the selection of each run."""

    name: str
    pool: int
    selected: tuple[int, ...]


class Pool(NamedTuple):
    """Runs that chose from the same pairs, read by the same models and told apart by the same rules, and every facet's values in
    their order."""

    runs: list[Run]
    facets: dict[str, list[Value]]
    others: int = 0  # pools with selections that are not drawn beside it

    @property
    def pairs(self) -> int:
        """Pairs to choose from."""
        return sum(value.pool for value in next(iter(self.facets.values())))

    @property
    def sizes(self) -> list[int]:
        """Pairs of each selection."""
        return [
            sum(column) for column in zip(*(value.selected for value in next(iter(self.facets.values()))), strict=True)
        ]


def pools(logs: Logs, runs: Iterable[Run]) -> list[Pool]:
    """The pools of those of `runs` that were measured, in the order of their first run."""
    rows = defaultdict(dict)
    for row in logs.composition.to_pylist():
        rows[row["run"]][row["facet"], row["value"]] = (row["pool"], row["selected"])
    alike = defaultdict(list)
    for run in runs:
        if run["run"] in rows:
            counted = frozenset((*key, pool) for key, (pool, _) in rows[run["run"]].items())
            alike[run["data_digest"], run["scorer"], counted].append(run)
    return [Pool(own, _facets([rows[run["run"]] for run in own])) for own in alike.values()]


def _facets(rows: Sequence[dict[tuple[str, str], tuple[int, int]]]) -> dict[str, list[Value]]:
    held = defaultdict(list)
    for (facet, name), (pool, _) in rows[0].items():
        held[facet].append(Value(name, pool, tuple(one[facet, name][1] for one in rows)))
    known = [*FACETS, *sorted(set(held) - set(FACETS))]
    return {
        facet: sorted(held[facet], key=lambda value: order(value.name, value.pool)) for facet in known if facet in held
    }


def drawn(logs: Logs) -> Pool | None:
    """What a figure or table shows: of the largest pool the selections of the budget that most selectors share, in the order of
    their selectors; of runs that differ in nothing but the seed the lowest. None where nothing was measured, or only of the
    whole data."""
    shown = [pool for pool in map(_one_budget, pools(logs, usable(logs))) if pool.runs]
    if not shown:
        return None
    pool = max(shown, key=lambda pool: (pool.pairs, len(pool.runs)))
    places = sorted(range(len(pool.runs)), key=lambda k: drawing.order(label(pool.runs[k])))
    return only(pool, places)._replace(others=len(shown) - 1)


def described(pool: Pool) -> str:
    """Which pairs, who read them, how many each selection has, and what else there is."""
    run, sizes = pool.runs[0], sorted(set(pool.sizes))
    each = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    more = f" {pool.others} other pool{'s' * (pool.others > 1)} (data or scorer) not shown." if pool.others else ""
    return f"{of_data(run)}; scorer {of_scorer(run)}. Budget {run['budget']}, {each} pairs each.{more}"


def _one_budget(pool: Pool) -> Pool:
    seen, kept = set(), []
    for run in sorted(pool.runs, key=lambda run: (run["seed"] or 0, run["run"])):
        if (label(run), run["budget"]) not in seen:
            seen.add((label(run), run["budget"]))
            kept.append(run)
    chosen = [run["run"] for run, _ in one_budget([(run, frozenset()) for run in kept])]
    return only(pool, [k for k, run in enumerate(pool.runs) if run["run"] in chosen])


def only(pool: Pool, places: Sequence[int]) -> Pool:
    """The same with the runs at `places`, in that order."""
    facets = {
        facet: [value._replace(selected=tuple(value.selected[k] for k in places)) for value in values]
        for facet, values in pool.facets.items()
    }
    return Pool([pool.runs[k] for k in places], facets, pool.others)


def ratio(selected: int, size: int, pool: int, pairs: int) -> float:
    """Share of a value in a selection of `size` over its share in the pool of `pairs`; above 1: over-represented."""
    return (selected / size) / (pool / pairs) if size else math.nan


def by_chance(selected: int, size: int, pool: int, pairs: int) -> bool:
    """Whether a random draw of `size` pairs would be as far from the pool's share in more than 5% of draws (hypergeometric
    variance, normal approximation with continuity correction)."""
    share = pool / pairs
    spread = math.sqrt(size * share * (1 - share) * (pairs - size) / max(pairs - 1, 1))
    return abs(selected - size * share) <= Z95 * spread + 0.5
