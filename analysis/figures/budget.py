"""Score against budget: how much of the data is enough, with intervals (the paper has none)."""

import logging
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis import drawing, scored
from analysis.logs import Logs
from analysis.usable import of_data, of_scorer

log = logging.getLogger(__name__)
NEEDS = ("runs", "results")
METRICS = {"pass@1": "pass@1 (%)", "canonical_nll": "canonical NLL (nats/token)"}
_SIDESTEP = 1.035  # between two selectors of one budget, on the logarithmic axis


def figure(logs: Logs) -> Figure | None:
    """A panel a benchmark and metric; the base model is the band."""
    cells = scored.largest(scored.cells(logs))
    shown = [
        (b, m)
        for m in METRICS
        for b in sorted({c.benchmark for c in cells})
        if any((c.benchmark, c.metric) == (b, m) for c in cells)
    ]
    if not any(cell.selector != "Base" for cell in cells):
        return log.info("budget: no usable run was evaluated")
    columns = 1 if len(shown) < 3 else 2
    rows = -(-len(shown) // columns)
    figure = drawing.blank(0.5 + 1.65 * rows, drawing.COLUMN if columns == 1 else drawing.PAGE)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes, (benchmark, metric) in zip(grid.flat, shown, strict=False):
        _panel(axes, [c for c in cells if (c.benchmark, c.metric) == (benchmark, metric)], metric)
        drawing.letter(
            axes,
            f"{scored.benchmark(benchmark)}, {cells[0].tasks} tasks"
            if "(" not in benchmark
            else scored.benchmark(benchmark),
        )
    for axes in grid[-1]:
        axes.set_xlabel("share of the pairs selected (%)")
    handles = {
        name: handle for axes in grid.flat for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside upper left", ncols=3 if columns == 1 else 6)
    drawing.note(figure, *_notes(cells))
    return figure


def _panel(axes: Axes, cells: list[Any], metric: str) -> None:
    scale = 100 if metric.startswith("pass@") else 1
    names = sorted({cell.selector for cell in cells} - {"Base"}, key=drawing.order)
    for base in [cell for cell in cells if cell.selector == "Base"]:
        axes.axhline(
            scale * base.value,
            color=drawing.GREY,
            linewidth=1,
            linestyle=drawing.look("Base").line,
            label="Base",
            zorder=1,
        )
        if base.low is not None:
            axes.axhspan(scale * base.low, scale * base.high, color="0.93", linewidth=0, zorder=0)
    for k, name in enumerate(names):
        own = sorted([cell for cell in cells if cell.selector == name], key=lambda cell: cell.share)
        step = _SIDESTEP ** (2 * k - len(names) + 1)
        x, y = np.array([100 * c.share * step for c in own]), scale * np.array([c.value for c in own])
        low, high = (
            scale * np.array([np.nan if v is None else v for v in side])
            for side in ([c.low for c in own], [c.high for c in own])
        )
        how = drawing.look(name)
        axes.errorbar(x, y, [y - low, high - y], color=how.color, marker=how.marker, linestyle=how.line, linewidth=0.9, markersize=4.5,
                      elinewidth=0.8, label=name, zorder=3)  # fmt: skip
    shares = sorted({round(100 * cell.share, 1) for cell in cells if cell.share})
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(shares, [f"{share:g}" for share in shares])
    axes.set_ylabel(METRICS[metric])


def _notes(cells: list[Any]) -> list[str]:
    run = cells[0].run
    seeds = sorted({cell.seeds for cell in cells if cell.selector != "Base"})
    return [f"{of_data(run)}; scorer {of_scorer(run)}; tuned {run['target']}, recipe {run['train']}.",
            f"Bars: 95% intervals; {'/'.join(map(str, seeds))} seed{'s' * (seeds != [1])} a point."]  # fmt: skip
