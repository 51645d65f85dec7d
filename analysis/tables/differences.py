"""Whether a selection trains a better model: NLL of right answers against a random selection of the same size, and against all pairs."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis import drawing, scored
from analysis.logs import Logs
from analysis.measures import holm, number
from analysis.paper import near
from analysis.scored import details
from analysis.typeset import MISSING, Table
from analysis.usable import Run, label, left_out, of_data, of_scorer, share, usable
from qaq.evaluate.results import nll_difference
from qaq.evaluate.statistics import mean, per_token

log = logging.getLogger(__name__)
NEEDS = ("runs", "likelihoods")
Setting = tuple[Any, ...]


@dataclass
class Arm:
    """One selection, or the base: its models, each with (summed NLL, tokens) of every text that it read."""

    run: Run
    name: str
    models: dict[str, dict[str, tuple[float, int]]]


def table(logs: Logs) -> Table | None:
    """A section each (data, target, recipe, texts); a row a selection."""
    sections = []
    for (_, benchmark), arms in sorted(_arms(logs).items(), key=lambda one: (-(one[0][0][1] or 0), str(one[0]))):
        base, chosen = [arm for arm in arms if arm.name == "Base"], [arm for arm in arms if arm.name != "Base"]
        if len(chosen) > 1:
            run = chosen[0].run
            texts = {id for arm in arms for model in arm.models.values() for id in model}
            heading = f"NLL of {scored.benchmark(benchmark)} ({len(texts):,} texts); {of_data(run)}; tuned {run['target']}, recipe {run['train']}"
            sections.append((heading, _section(base + _named(chosen))))
    if not sections:
        log.info("differences: no two usable runs of one setting tell what their models make of right answers")
        return None
    out = left_out(logs)
    return Table("Selections compared: NLL of right answers, in nats per token, lower is better", ["selection", "share", "pairs", "models", "NLL", "less random of that size", "p", "less all pairs", "p"], sections, [
        "In brackets: 95% intervals; differences are paired over texts and include the spread over models (training seeds, and draws of a random selection). "
        "p: two-sided, Student; all of a section's corrected together (Holm 1979).",
        "Less all pairs: below 0 the selection trains better than everything, with fewer updates.",
        *([f"Runs left out: {'; '.join(out)}."] if out else [])])  # fmt: skip


def _arms(logs: Logs) -> dict[tuple[Setting, str], list[Arm]]:
    runs = {run["run"]: run for run in usable(logs)}
    read: dict[tuple[str, str, Any, str], dict[str, tuple[float, int]]] = defaultdict(dict)
    for row in logs.likelihoods.to_pylist():
        if row["run"] in runs and row["nll_sum"] is not None:
            read[row["run"], row["selector"], row["train_seed"], row["benchmark"]][row["id"]] = (
                row["nll_sum"],
                row["tokens"],
            )
    arms: dict[tuple[Setting, str], dict[Any, Arm]] = defaultdict(dict)
    for (run_id, selector, seed, benchmark), texts in sorted(read.items(), key=str):
        run, base = runs[run_id], selector == "base"
        held = arms[_setting(run), benchmark]
        which = "base" if base else run["cell"]
        arm = held.setdefault(which, Arm(run, "Base" if base else label(run), {}))
        arm.models["base" if base else f"{run['seed']} {seed}"] = texts
    return {
        key: sorted(
            held.values(), key=lambda arm: (*drawing.order(arm.name), share(arm.run) or 0, str(details(arm.run)))
        )
        for key, held in arms.items()
    }


def _setting(run: Run) -> Setting:
    """What two selections have to share: all but who read the pairs."""
    rest = tuple(sorted(item for item in details(run).items() if not item[0].startswith("scorer.")))
    return run["data_digest"], run["rows"], run["target"], run["train"], run["partial"], rest


def _named(arms: Sequence[Arm]) -> list[Arm]:
    """Selections of one name and size are told apart by what their scorers do not share."""
    for arm in arms:
        twins = [
            other
            for other in arms
            if label(other.run) == label(arm.run) and near(share(other.run), share(arm.run) or 0)
        ]
        facts = [
            {"scorer": of_scorer(one.run), **{k: v for k, v in details(one.run).items() if k.startswith("scorer.")}}
            for one in twins
        ]
        mine = facts[twins.index(arm)]
        differing = [
            f"{name.removeprefix('scorer.')} {value}"
            for name, value in mine.items()
            if any(other.get(name) != value for other in facts)
        ]
        arm.name = ", ".join([label(arm.run), *differing])
    return list(arms)


def _section(arms: Sequence[Arm]) -> list[list[str]]:
    full = [arm for arm in arms if arm.name == "Full"]
    rows, tests = [], []
    for arm in arms:
        same = [
            other
            for other in arms
            if other.name == "Random"
            and arm.name not in ("Base", "Random")
            and near(share(other.run), share(arm.run) or 0)
        ]
        cells: list[str] = []
        for others in (same, full if arm.name not in ("Base", "Full") else []):
            found = _less(arm, others[0]) if others else None
            cells += [_estimate(found[0]) if found else MISSING, MISSING]
            if found and found[1] is not None:
                tests.append((len(rows), 5 + len(cells) - 1, found[1]))
        size = [MISSING, MISSING] if arm.name == "Base" else [f"{share(arm.run):.1%}", f"{arm.run['selected']:,}"]
        rows.append([arm.name, *size, str(len(arm.models)), _estimate(mean(per_token(*_read([arm])[0]))), *cells])
    for (row, column, _), p in zip(tests, holm([p for *_, p in tests]), strict=True):
        rows[row][column] = "<0.001" if p < 0.001 else f"{p:.3f}"
    return rows


def _less(ours: Arm, theirs: Arm) -> tuple[Any, float | None] | None:
    ((a_ST, tokens_T), (b_ST, _)) = _read([ours, theirs])
    return nll_difference(a_ST, b_ST, tokens_T) if len(tokens_T) else None


def _read(arms: Sequence[Arm]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(summed NLL, models by texts; tokens) of each arm, over the texts that all models of all arms have read."""
    models = [model for arm in arms for model in arm.models.values()]
    texts = sorted(set.intersection(*(set(model) for model in models)))
    tokens_T = np.array([models[0][id][1] for id in texts])
    return [(np.array([[model[id][0] for id in texts] for model in arm.models.values()]), tokens_T) for arm in arms]


def _estimate(found: Any) -> str:
    value, low, high = found
    return number(value, 4) if low is None else f"{number(value, 4)} [{number(low, 4)}, {number(high, 4)}]"
