"""Whether a selection trains a better model: NLL of right answers against a random selection of its size, and against all pairs."""

import logging
from collections.abc import Sequence

from analysis import scored, selected
from analysis.logs import Logs
from analysis.measures import holm, interval
from analysis.selected import Arm
from analysis.typeset import MISSING, Table
from analysis.usable import left_out, of_data, share

log = logging.getLogger(__name__)
NEEDS = ("runs", "likelihoods")
COLUMNS = ("selection", "share", "pairs", "models", "NLL", "less random of that size", "p", "less stratified RMI of that size", "p",
           "less all pairs", "p")  # fmt: skip


def table(logs: Logs) -> Table | None:
    """A section each (data, target, recipe, texts); a row a selection."""
    found = selected.comparable(logs)
    if not found:
        log.info("differences: no two usable runs of one setting tell what their models make of right answers")
        return None
    out = left_out(logs)
    recipes = {setting.rest for setting, _, _ in found}
    sections = [
        (_heading(benchmark, arms) + scored.differing(setting.rest, recipes), _section(arms))
        for setting, benchmark, arms in found
    ]
    return Table("Selections compared: NLL of right answers, in nats per token, lower is better", COLUMNS, sections, [
        "In brackets: 95% intervals; differences are paired over texts and include the spread over models (training seeds, and draws of a "
        "random selection; of one model alone none of it). p: two-sided, Student; those of a column in a section corrected together (Holm "
        "1979), the intervals not.",
        "Less all pairs: below 0 the selection trains better than everything, with fewer updates.",
        *([f"Runs left out: {'; '.join(out)}."] if out else [])])  # fmt: skip


def _heading(benchmark: str, arms: Sequence[Arm]) -> str:
    run, texts = arms[-1].run, {id for arm in arms for model in arm.models.values() for id in model}
    return (f"NLL of {scored.benchmark(benchmark)} ({len(texts):,} texts); {of_data(run)}; tuned {run['target']}, recipe "
            f"{run['train']}")  # fmt: skip


def _section(arms: Sequence[Arm]) -> list[list[str]]:
    rows, tests = [], []
    for arm in arms:
        size = [MISSING, MISSING] if arm.name == "Base" else [f"{share(arm.run):.1%}", f"{arm.run['selected']:,}"]
        row = [arm.name, *size, str(len(arm.models)), interval(arm.nll, 4)]
        for other in (selected.random_of(arm, arms), selected.stratified(arm, arms), selected.everything(arm, arms)):
            found = arm.less(other) if other else None
            row += [interval(found[0], 4) if found else MISSING, MISSING]
            if found and found[1] is not None:
                tests.append((len(rows), len(row) - 1, found[1]))
        rows.append(row)
    for asked in {column for _, column, _ in tests}:
        family = [(row, p) for row, column, p in tests if column == asked]
        for (row, _), p in zip(family, holm([p for _, p in family]), strict=True):
            rows[row][asked] = "<0.001" if p < 0.001 else f"{p:.3f}"
    return rows
