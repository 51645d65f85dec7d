"""RESULTS joined with their runs: one cell for a setting, a selector, a budget, a benchmark and a metric, seeds together."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from analysis import paper
from analysis.logs import Logs
from analysis.usable import Run, checkpoints, label, share, usable
from qaq.config import SECTIONS, identity
from qaq.evaluate import HELD_OUT

SETTING = ("data", "data_digest", "rows", "pairs", "scorer", "weak", "target", "train", "partial")
# What SETTING tells by name, what a benchmark or a seed decides, and what changes no number that is compared.
_TOLD = {"scorer": ("name", "model", "weak", "passes"), "train": ("name", "seeds"),
         "evaluate": ("name", "benchmark", "path", "limit", "baseline", "seed", "require_isolation")}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """`value` is the mean over `seeds` models; `low` and `high` are the outermost bounds of their 95% intervals.

    `models` are these models, by the keys of their checkpoints: what was evaluated on two benchmarks has two cells of the same
    models. Of the base, and where no run told its keys, the cells of the runs.
    """

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
    models: frozenset[str]


def details(run: Run) -> dict[str, str]:
    """How it read, trained and was measured, beyond the names of models, data and recipe: {option: value as JSON}."""
    config = json.loads(run["config"] or "{}")
    held = {}
    for section, told in _TOLD.items():
        settings = identity(config.get(section, {}), SECTIONS[section])
        held |= {f"{section}.{name}": json.dumps(value) for name, value in settings.items() if name not in told}
    return held


def reading(run: Run) -> dict[str, str]:
    """How its scorer read: {option of `scorer`: value as JSON}, as in `details`."""
    return {name.removeprefix("scorer."): value for name, value in details(run).items() if name.startswith("scorer.")}


def recipe(run: Run) -> tuple[tuple[str, str], ...]:
    """How it trained: (option of `train`, value as JSON), as in `details`."""
    return tuple(sorted(item for item in details(run).items() if item[0].startswith("train.")))


def differing(own: Iterable[tuple[str, str]], settings: Iterable[Collection[tuple[str, str]]]) -> str:
    """`; option value, ...` of what not all settings have in common, because names alone do not tell it; or ""."""
    held = list(settings)
    told = [f"{name} {value}" for name, value in own if not all((name, value) in other for other in held)]
    return f"; {', '.join(told)}" if told else ""


def cells(logs: Logs) -> list[Cell]:
    """Of all usable runs. A run's training seeds come pooled; runs that differ in nothing but their seed are one cell."""
    runs, groups = {run["run"]: run for run in usable(logs)}, {}
    for row in _pooled([row for row in logs.results.to_pylist() if row["run"] in runs and row["value"] is not None]):
        run = runs[row["run"]]
        base = row["selector"] == "base"
        which = (
            *_setting(run),
            "" if base else run["cell"],
            row["selector"] == "base",
            row["benchmark"],
            row["metric"],
        )
        groups.setdefault(which, []).append((run, row))
    return [_cell(*zip(*group, strict=True)) for group in groups.values()]


def _setting(run: Run) -> tuple[Any, ...]:
    return (*(run[name] for name in SETTING), tuple(sorted(details(run).items())))


def _pooled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of several training seeds of one run the row that holds all of them."""
    held: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        which = (row["run"], row["selector"], row["benchmark"], row["metric"])
        if which not in held or (row["pooled"] or 1) > (held[which]["pooled"] or 1):
            held[which] = row
    return list(held.values())


def _cell(runs: tuple[Run, ...], rows: tuple[dict[str, Any], ...]) -> Cell:
    base = rows[0]["selector"] == "base"
    held = [frozenset([run["cell"]]) if base else frozenset(checkpoints(run).values()) for run in runs]
    kept = _distinct(held) if all(held) else list(range(len(rows)))
    runs, rows = [runs[k] for k in kept], [rows[k] for k in kept]
    models = frozenset().union(*held)
    first, known = runs[0], all(row["low"] is not None for row in rows)
    one = len(rows) == 1 or (base and len({row["value"] for row in rows}) == 1)
    return Cell(
        _setting(first), "Base" if base else label(first), 0.0 if base else share(first) or 0.0,
        rows[0]["benchmark"], rows[0]["metric"], rows[0]["value"] if one else sum(row["value"] for row in rows) / len(rows),
        min(row["low"] for row in rows) if known else None, max(row["high"] for row in rows) if known else None,
        rows[0]["tasks"], 1 if one and base else len(models) if models and not base else sum(row["pooled"] or 1 for row in rows),
        first, models or frozenset(run["cell"] for run in runs))  # fmt: skip


def _distinct(held: list[frozenset[str]]) -> list[int]:
    """Positions of those that are part of no other; of equals the first. A selector that draws nothing chooses the same
    pairs with every seed, and a run of three training seeds holds the one of a run before it."""
    return [k for k, one in enumerate(held)
            if not any(one < other or (one == other and j < k) for j, other in enumerate(held))]  # fmt: skip


def largest(found: list[Cell]) -> list[Cell]:
    """The cells of the setting with most pairs; of several the one with most cells."""
    settings = sorted(
        {cell.setting for cell in found}, key=lambda s: (-(s[3] or 0), -sum(c.setting == s for c in found), str(s))
    )
    return [cell for cell in found if cell.setting == settings[0]] if settings else []


def benchmark(name: str) -> str:
    """The paper's spelling; what follows it (which tasks) is kept."""
    if name == HELD_OUT:
        return "held-out answers"
    plain, _, rest = name.partition(" ")
    return paper.NUMBERS["benchmarks"].get(plain, plain) + (f" {rest}" if rest else "")
