"""Score against budget: how much of the data is enough, with intervals (the paper has none)."""

import logging
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from analysis import drawing, scored
from analysis.logs import Logs
from analysis.scored import Cell
from analysis.usable import of_data, of_scorer

log = logging.getLogger(__name__)
NEEDS = ("runs", "results")
METRICS = {
    "pass@1": (100, "pass@1 (%)"),
    "canonical_nll": (1, "NLL (nats per token)"),
    "answer_nll": (1, "NLL (nats per token)"),
}
SIDESTEP, CLUSTER = 1.06, 1.45  # on the logarithmic axis: between two selectors of one budget, and all of them at most


def figure(logs: Logs) -> Figure | None:
    """A panel a benchmark and metric; the line and band across are the base model."""
    every = scored.cells(logs)
    cells = scored.largest(every)
    if not any(cell.selector != "Base" for cell in cells):
        log.info("budget: no usable run was evaluated")
        return None
    held = {(cell.benchmark, cell.metric) for cell in cells}
    shown = sorted([one for one in held if one[1] in METRICS], key=lambda one: (list(METRICS).index(one[1]), one[0]))
    columns = 1 if len(shown) < 3 else 2
    rows = -(-len(shown) // columns)
    figure = drawing.blank(0.6 + 1.6 * rows, drawing.COLUMN if columns == 1 else drawing.PAGE)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axes, (benchmark, metric) in zip(grid.flat, shown, strict=False):
        _panel(axes, [cell for cell in cells if (cell.benchmark, cell.metric) == (benchmark, metric)])
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, len(shown) - columns) : len(shown)]:
        axes.set_xlabel("share of the pairs selected (%)")
        axes.tick_params(labelbottom=True)
    handles = {
        name: handle for axes in grid.flat for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    names = sorted(handles, key=drawing.order)
    figure.legend([handles[name] for name in names], names, loc="outside upper left", ncols=3 * columns)
    others = len({cell.setting for cell in every}) - 1
    drawing.note(
        figure,
        *_notes(cells),
        f"{others} other setting{'s' * (others > 1)} of data, models, recipe or evaluation not shown."
        if others
        else "",
    )
    return figure


def _panel(axes: Axes, cells: Sequence[Cell]) -> None:
    scale, words = METRICS[cells[0].metric]
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
    tuned = [cell for cell in cells if cell.selector != "Base"]
    for name in sorted({cell.selector for cell in tuned}, key=drawing.order):
        own = sorted([cell for cell in tuned if cell.selector == name], key=lambda cell: cell.share)
        x = [100 * cell.share * aside(cell, tuned) for cell in own]
        y, low, high = (scale * np.array([np.nan if v is None else v for v in side], dtype=float)
                        for side in zip(*((cell.value, cell.low, cell.high) for cell in own), strict=True))  # fmt: skip
        how = drawing.look(name)
        axes.errorbar(x, y, [y - low, high - y], color=how.color, marker=how.marker, linestyle=how.line, linewidth=0.9,
                      markersize=4.5, elinewidth=0.8, label=name, zorder=3)  # fmt: skip
    shares: list[float] = []
    for share in sorted({round(100 * cell.share, 1) for cell in tuned}):
        shares += [share] if not shares or share > 1.15 * shares[-1] else []  # no label over another
    axes.set_xscale("log")
    axes.set_xlim(shares[0] / 1.4, max(shares[-1], 1) * 1.4)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(shares, [f"{share:.0f}" if share >= 5 else f"{share:g}" for share in shares])
    axes.set_ylabel(words)
    drawing.letter(
        axes,
        scored.benchmark(cells[0].benchmark)
        + (
            ""
            if "(" in cells[0].benchmark
            else f", {cells[0].tasks} {'pairs' if cells[0].metric == 'answer_nll' else 'tasks'}"
        ),
    )


def aside(cell: Cell, cells: Sequence[Cell]) -> float:
    """The factor that sets a point beside those of other selectors with the same share, so that intervals can be told apart."""
    beside = sorted({other.selector for other in cells if abs(other.share - cell.share) < 0.005}, key=drawing.order)
    step = min(SIDESTEP, CLUSTER ** (1 / max(len(beside) - 1, 1)))
    return step ** (beside.index(cell.selector) - (len(beside) - 1) / 2)


def _notes(cells: Sequence[Cell]) -> list[str]:
    run = cells[0].run
    seeds = sorted({cell.seeds for cell in cells if cell.selector != "Base"})
    return [f"{of_data(run)}; scorer {of_scorer(run)}; tuned {run['target']}, recipe {run['train']}. NLL: of the benchmark's own solutions, "
            "and of the answers of held-out pairs."
            if any(cell.metric != "pass@1" for cell in cells) else
            f"{of_data(run)}; scorer {of_scorer(run)}; tuned {run['target']}, recipe {run['train']}.",
            f"Bars: 95% intervals over tasks; {' or '.join(map(str, seeds))} seed{'s' * (seeds != [1])} a point. Points of one share "
            "stand side by side."]  # fmt: skip
