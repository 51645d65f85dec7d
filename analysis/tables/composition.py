"""What each selector takes: share of every source, length, language and topic in the pool and in the selections."""

import logging

from analysis import composed
from analysis.composed import Pool, Value
from analysis.logs import Logs
from analysis.typeset import Table
from analysis.usable import label, left_out, usable

log = logging.getLogger(__name__)
NEEDS = ("runs", "composition")


def table(logs: Logs) -> Table | None:
    """A section a facet; a column the pool and each selector, all of one budget."""
    pool = composed.drawn(logs)
    if pool is None:
        log.info("composition: of no usable run with a selection it was measured")
        return None
    sections = [
        (facet[0].upper() + facet[1:], [_row(pool, value) for value in values]) for facet, values in pool.facets.items()
    ]
    unknown, out = unmeasured(logs), left_out(logs)
    return Table("What each selector takes, in % of its pairs", ["value", "pairs", "pool", *map(label, pool.runs)], sections, [
        f"Pool: {composed.described(pool)}",
        "*: further from the pool's share than 95% of random draws of that size; of many cells, one in twenty is so by chance.",
        "Languages and topics follow the rules of conf/composition: right for most pairs, not for all.",
        *([unknown] if unknown else []), *([f"Runs left out: {'; '.join(out)}."] if out else [])])  # fmt: skip


def unmeasured(logs: Logs) -> str:
    """A sentence for the usable selections of which nothing was counted, or ""."""
    known = set(logs.composition["run"].to_pylist())
    lacking = [run for run in usable(logs) if run["selected"] and run["run"] not in known]
    return f"Not measured in {len(lacking)} run{'s' * (len(lacking) > 1)}." if lacking else ""


def _row(pool: Pool, value: Value) -> list[str]:
    pairs = pool.pairs
    cells = [
        f"{100 * count / size:.1f}{'' if composed.by_chance(count, size, value.pool, pairs) else '*'}"
        for count, size in zip(value.selected, pool.sizes, strict=True)
    ]
    return [
        value.name.replace("-", "–") if value.name[0].isdigit() else value.name,
        f"{value.pool:,}",
        f"{100 * value.pool / pairs:.1f}",
        *cells,
    ]
