"""RESULTS joined with their runs: one cell for a setting, a selector, a budget, a benchmark and a metric, seeds together."""

from dataclasses import dataclass
from typing import Any

from analysis import paper
from analysis.logs import Logs
from analysis.usable import Run, label, share, usable

SETTING = ("data", "data_digest", "rows", "pairs", "scorer", "weak", "target", "train", "partial")


@dataclass(frozen=True)
class Cell:
    """`value` is the mean over `seeds` models; `low` and `high` are the outermost bounds of their 95% intervals."""

    setting: tuple[Any, ...]
    selector: str
    share: float
    benchmark: str
    metric: str
    value: float
    low: float | None
    high: float | None
    tasks: int
    seeds: int
    run: Run


def cells(logs: Logs) -> list[Cell]:
    """Of all usable runs. A run's training seeds come pooled; runs that differ in nothing but their seed are one cell."""
    runs, groups = {run["run"]: run for run in usable(logs)}, {}
    for row in _pooled([row for row in logs.results.to_pylist() if row["run"] in runs and row["value"] is not None]):
        run = runs[row["run"]]
        base = row["selector"] == "base"
        which = (
            *(run[name] for name in SETTING),
            "" if base else run["cell"],
            row["selector"] == "base",
            row["benchmark"],
            row["metric"],
        )
        groups.setdefault(which, []).append((run, row))
    return [_cell(*zip(*group, strict=True)) for group in groups.values()]


def _pooled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of several training seeds of one run the row that holds all of them."""
    held: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        which = (row["run"], row["selector"], row["benchmark"], row["metric"])
        if which not in held or (row["pooled"] or 1) > (held[which]["pooled"] or 1):
            held[which] = row
    return list(held.values())


def _cell(runs: tuple[Run, ...], rows: tuple[dict[str, Any], ...]) -> Cell:
    first, base = runs[0], rows[0]["selector"] == "base"
    known = all(row["low"] is not None for row in rows)
    one = len(rows) == 1 or (base and len({row["value"] for row in rows}) == 1)
    return Cell(
        tuple(first[name] for name in SETTING), "Base" if base else label(first), 0.0 if base else share(first) or 0.0,
        rows[0]["benchmark"], rows[0]["metric"], rows[0]["value"] if one else sum(row["value"] for row in rows) / len(rows),
        min(row["low"] for row in rows) if known else None, max(row["high"] for row in rows) if known else None,
        rows[0]["tasks"], 1 if one and base else sum(row["pooled"] or 1 for row in rows), first)  # fmt: skip


def largest(found: list[Cell]) -> list[Cell]:
    """The cells of the setting with most pairs; of several the one with most cells."""
    settings = sorted(
        {cell.setting for cell in found}, key=lambda s: (-(s[3] or 0), -sum(c.setting == s for c in found), str(s))
    )
    return [cell for cell in found if cell.setting == settings[0]] if settings else []


def benchmark(name: str) -> str:
    """The paper's spelling; what follows it (which tasks) is kept."""
    plain, _, rest = name.partition(" ")
    return paper.NUMBERS["benchmarks"].get(plain, plain) + (f" {rest}" if rest else "")
