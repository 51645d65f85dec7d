"""The paper's main table, 25% against full: its numbers beside ours."""

import logging
from collections.abc import Sequence
from typing import Any

from analysis import paper, scored
from analysis.logs import Logs
from analysis.scored import Cell
from analysis.typeset import MISSING, Table
from analysis.usable import label, left_out, of_data, of_scorer, share

log = logging.getLogger(__name__)
NEEDS = ("runs", "results")


def table(logs: Logs) -> Table | None:
    """A section a setting (data, models, recipe); in each every row of the paper, then what only we ran."""
    return compared(logs, "Selections, pass@1 in % with 95% intervals", paper.NUMBERS["selections"], "main")


def compared(logs: Logs, title: str, rows: Sequence[dict[str, Any]], name: str, others: bool = True) -> Table | None:
    """`rows` are the paper's; `others`: our selections that are none of them follow."""
    found = scored.cells(logs)
    if not any(cell.selector != "Base" for cell in found):
        return log.info("%s: no usable run was evaluated", name)
    measures = _measures(found)
    sections, lacking = [_published(rows, measures)], []
    for setting in sorted({cell.setting for cell in found}, key=lambda s: (-(s[3] or 0), str(s))):
        cells = [cell for cell in found if cell.setting == setting]
        made, missing = _section(cells, rows, measures, others)
        sections.append((heading(cells), made))
        lacking += [f"{cells[0].run['data']}, {cells[0].run['target']}: {', '.join(missing)}"] if missing else []
    notes = [f"{MISSING}: no number. Not run, by setting: {'; '.join(lacking)}."] if lacking else []
    return Table(title, _columns(measures), sections, [*notes, *_footnotes(logs, found)])


def heading(cells: Sequence[Cell]) -> str:
    """What the rows of a section have in common: data, size, models, recipe."""
    run = cells[0].run
    return f"Ours: {of_data(run)}; scorer {of_scorer(run)}; tuned {run['target']}, recipe {run['train']}"


def _measures(found: Sequence[Cell]) -> list[tuple[str, str]]:
    """(benchmark, metric) of the columns: the paper's benchmarks, then what else was measured, then the likelihood."""
    known = [(name, "pass@1") for name in paper.NUMBERS["benchmarks"]]
    held = sorted({(cell.benchmark, cell.metric) for cell in found})
    more = [one for one in held if one[1] == "pass@1" and one not in known]
    return known + more + [one for one in held if one[1] == "canonical_nll"]


def _columns(measures: Sequence[tuple[str, str]]) -> list[str]:
    words = {"pass@1": "", "canonical_nll": " canonical NLL (nats/token)"}
    return ["selection", "share", "pairs", *(scored.benchmark(b) + words[m] for b, m in measures)]


def _published(rows: Sequence[dict[str, Any]], measures: Sequence[tuple[str, str]]) -> tuple[str, list[list[str]]]:
    numbers = paper.NUMBERS
    heading = f"The paper ({numbers['source']}): {numbers['data']}; scorer {numbers['scorer']}, weak scorer {numbers['weak']}; tuned {numbers['target']}"
    return heading, [
        [row["name"], f"{row['share']:.0%}", MISSING, *(_printed(row, *measure) for measure in measures)]
        for row in rows
    ]


def _printed(row: dict[str, Any], benchmark: str, metric: str) -> str:
    return f"{row[benchmark]:.2f}" if metric == "pass@1" and benchmark in row else MISSING


def _section(cells: Sequence[Cell], rows: Sequence[dict[str, Any]], measures: Sequence[tuple[str, str]],
             others: bool) -> tuple[list[list[str]], list[str]]:  # fmt: skip
    """(our rows, the names of the paper's rows that we did not run)."""
    tuned = {cell.run["cell"]: cell.run for cell in cells if cell.selector != "Base"}
    made, missing, used = [], [], set()
    base = [cell for cell in cells if cell.selector == "Base"]
    if base:
        made.append(["Base, not tuned", MISSING, MISSING, *(_measured(base, *measure) for measure in measures)])
    for row in rows:
        same = [key for key, run in tuned.items() if paper.is_row(run, row)]
        used |= set(same)
        missing += [] if same else [row["name"]]
        made += [_ours(row["name"], tuned[key], [c for c in cells if c.run["cell"] == key and c.selector != "Base"], measures)
                 for key in same] or [[row["name"], *[MISSING] * (2 + len(measures))]]  # fmt: skip
    for key, run in sorted(tuned.items(), key=lambda one: (label(one[1]), share(one[1]) or 0)):
        if others and key not in used:
            made.append(
                _ours(label(run), run, [c for c in cells if c.run["cell"] == key and c.selector != "Base"], measures)
            )
    return made, missing


def _ours(name: str, run: dict[str, Any], cells: Sequence[Cell], measures: Sequence[tuple[str, str]]) -> list[str]:
    seeds = max(cell.seeds for cell in cells)
    name += f" ({seeds} seeds)" if seeds > 1 else ""
    return [name, f"{share(run):.1%}", f"{run['selected']:,}", *(_measured(cells, *measure) for measure in measures)]


def _measured(cells: Sequence[Cell], benchmark: str, metric: str) -> str:
    for cell in cells:
        if (cell.benchmark, cell.metric) == (benchmark, metric):
            scale, digits = (100, 1) if metric == "pass@1" else (1, 3)
            value = f"{scale * cell.value:.{digits}f}"
            return (
                value
                if cell.low is None
                else f"{value} [{scale * cell.low:.{digits}f}, {scale * cell.high:.{digits}f}]"
            )
    return MISSING


def _footnotes(logs: Logs, found: Sequence[Cell]) -> list[str]:
    notes = ["The paper gives one training each and no intervals. Ours: the interval is over the benchmark's tasks (and training seeds, where "
             "there are several); of several selection seeds the mean and the outermost bounds are given."]  # fmt: skip
    absent = [
        name for key, name in paper.NUMBERS["benchmarks"].items() if not any(cell.benchmark == key for cell in found)
    ]
    if absent:
        notes.append(f"Not evaluated by us: {', '.join(absent)}.")
    if any("(" in cell.benchmark for cell in found):
        notes.append("A benchmark with a bracket is a part of it: its numbers cannot be compared with the paper's.")
    out = left_out(logs)
    return notes + ([f"Runs left out: {'; '.join(out)}."] if out else [])
