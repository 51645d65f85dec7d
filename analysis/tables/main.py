"""The paper's main table, 25% against full: its numbers beside ours."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from analysis import drawing, paper, scored
from analysis.logs import Logs
from analysis.scored import Cell
from analysis.typeset import MISSING, Table
from analysis.usable import left_out, named, of_data, of_scorer, share

log = logging.getLogger(__name__)
NEEDS = ("runs", "results")
BASE = "Base, not tuned"
PUBLISHED = "The paper ({source}): {data}; scorer {scorer}, weak scorer {weak}; tuned {target}. One training each, no intervals."


def table(logs: Logs) -> Table | None:
    """A section a setting (data, models, recipe); in each every row of the paper, then what else we ran at its shares."""
    return compared(logs, "Selections: pass@1 in %, the paper's beside ours", paper.NUMBERS["selections"], "main")


def compared(logs: Logs, title: str, rows: Sequence[dict[str, Any]], name: str, others: bool = True) -> Table | None:
    """`rows` are the paper's; `others`: our selections that are none of them follow."""
    found = scored.cells(logs)
    if not any(cell.selector != "Base" for cell in found):
        log.info("%s: no usable run was evaluated", name)
        return None
    measures, sections, notes = _measures(found), [], [PUBLISHED.format(**paper.NUMBERS)]
    settings = Counter(cell.setting for cell in found)
    for setting in sorted(settings, key=lambda s: (-(s[3] or 0), -settings[s], str(s))):
        cells = [cell for cell in found if cell.setting == setting]
        made, lacking = _section(cells, rows, measures, others, whole=not sections)
        if not others and [row[0] for row in made] == [BASE]:  # none of its selections belongs here
            continue
        sections.append((_heading(cells) + scored.differing(setting[-1], (other[-1] for other in settings)), made))
        notes += [f"{MISSING} in the section of {of_data(cells[0].run)}: {lacking}."] if lacking else []
    return Table(title, _columns(measures), sections, [*notes, *_footnotes(logs, found)])


def _heading(cells: Sequence[Cell]) -> str:
    """What the rows of a section have in common: data, size, models, recipe."""
    run = cells[0].run
    return f"Ours: {of_data(run)}; scorer {of_scorer(run)}; tuned {run['target']}, recipe {run['train']}"


def _measures(found: Sequence[Cell]) -> list[tuple[str, str]]:
    """(benchmark, metric) of the columns: the paper's benchmarks, then what else was measured, then the likelihood."""
    known = [(name, "pass@1") for name in paper.NUMBERS["benchmarks"]]
    held = sorted({(cell.benchmark, cell.metric) for cell in found})
    more = [one for one in held if one[1] == "pass@1" and one not in known]
    return known + more + [one for one in held if one[1] in ("canonical_nll", "answer_nll")]


def _columns(measures: Sequence[tuple[str, str]]) -> list[str]:
    spelt = [
        scored.benchmark(benchmark) + ("" if metric == "pass@1" else ", NLL (nats/token)")
        for benchmark, metric in measures
    ]
    return ["selection", "whose", "share", "pairs", *spelt]


def _section(cells: Sequence[Cell], rows: Sequence[dict[str, Any]], measures: Sequence[tuple[str, str]], others: bool,
             whole: bool) -> tuple[list[list[str]], str]:  # fmt: skip
    """(rows, what is missing in them, in words). `whole`: also the paper's rows that we did not run."""
    base = [cell for cell in cells if cell.selector == "Base"]
    tuned: dict[
        Any, list[Cell]
    ] = {}  # a row is one selection and its models, though each benchmark is a run of its own
    for cell in cells:
        if cell.selector != "Base":
            tuned.setdefault((cell.selector, cell.share, cell.models), []).append(cell)
    made = [_ours(BASE, base, measures)] if base else []
    lacking = []
    for row in rows:
        same = [tuned.pop(key) for key, own in list(tuned.items()) if paper.row_of(own[0].run, rows) is row]
        lacking += [] if same else [f"{row['name']} not run"]
        if same or whole:
            made += [_theirs(row, measures), *(_ours(_variant(own, len(same)), own, measures) for own in same or [[]])]
    if others:
        near, far = _at_shares(list(tuned.values()), rows)
        made += [
            _ours(own[0].selector + (f", {named(own[0].run)}" if twice else ""), own, measures) for own, twice in near
        ]
        lacking += [f"{far} selection{'s' * (far > 1)} of other shares only in the figure of budgets"] if far else []
    absent = [
        scored.benchmark(b)
        for b, m in measures
        if m == "pass@1" and not any((c.benchmark, c.metric) == (b, m) for c in cells)
    ]
    lacking += [f"{', '.join(absent)} not evaluated"] if absent else []
    return made, "; ".join(lacking)


def _at_shares(
    selections: list[list[Cell]], rows: Sequence[dict[str, Any]]
) -> tuple[list[tuple[list[Cell], bool]], int]:
    """(selections of the paper's shares, each with whether another has its name and share; the number of all others)."""
    near = [own for own in selections if any(paper.near(own[0].share, row["share"]) for row in rows)]
    near.sort(key=lambda own: (*drawing.order(own[0].selector), own[0].share, named(own[0].run)))
    names = [(own[0].selector, own[0].share) for own in near]
    return [(own, names.count(name) > 1) for own, name in zip(near, names, strict=True)], len(selections) - len(near)


def _variant(cells: Sequence[Cell], many: int) -> str:
    """Under the paper's name: in what our run's options are not the defaults; of several like it, which run it is."""
    if not cells:
        return ""
    return ", ".join(filter(None, [cells[0].selector.partition(", ")[2], named(cells[0].run) if many > 1 else ""]))


def _theirs(row: dict[str, Any], measures: Sequence[tuple[str, str]]) -> list[str]:
    values = [
        f"{row[benchmark]:.2f}" if metric == "pass@1" and benchmark in row else MISSING
        for benchmark, metric in measures
    ]
    return [row["name"], "paper", f"{row['share']:.0%}", MISSING, *values]


def _ours(name: str, cells: Sequence[Cell], measures: Sequence[tuple[str, str]]) -> list[str]:
    """`cells` of one selection or of the base; none if it was not run."""
    seeds = max((cell.seeds for cell in cells), default=1)
    run = cells[0].run if cells and cells[0].selector != "Base" else None
    size = [f"{share(run):.1%}", f"{run['selected']:,}"] if run else [MISSING, MISSING]
    return [
        name,
        "ours" + (f", {seeds} seeds" if seeds > 1 else ""),
        *size,
        *(_measured(cells, *measure) for measure in measures),
    ]


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
    notes = ["Ours, in brackets: 95% intervals over the benchmark's tasks (and training seeds, where there are several); of several "
             "selection seeds the mean and the outermost bounds."]  # fmt: skip
    if any("(" in cell.benchmark for cell in found):
        notes.append("A benchmark with a bracket is a part of it: its numbers cannot be compared with the paper's.")
    out = left_out(logs)
    return notes + ([f"Runs left out: {'; '.join(out)}."] if out else [])
