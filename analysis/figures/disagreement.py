"""Strong against weak stratified rank of RMI, with the regions of Diff and Sum (QAQ, section 3)."""

import logging

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import drawing, paper
from analysis.logs import Logs
from analysis.measures import stratified
from analysis.usable import largest

log = logging.getLogger(__name__)
NEEDS = ("runs", "metrics")
QUARTER, THRESHOLD = 0.25, 0.1  # QAQ: a quarter of the data, Diff > 0.1


def figure(logs: Logs) -> Figure | None:
    """A square: the weak model's rank to the right, the strong one's upwards."""
    scores = largest(logs, ["rmi", "log_ppl_q", "weak_rmi", "weak_log_ppl_q"])
    if scores is None:
        log.info("disagreement: no usable run has scores of two models")
        return None
    strong, weak = (stratified(scores.array(f"{side}rmi"), scores.array(f"{side}log_ppl_q")) for side in ("", "weak_"))
    figure = drawing.blank(3.3)
    axes = figure.add_subplot()
    drawing.points(axes, weak, strong, color=drawing.DARK, zorder=4)
    cuts = boundaries(strong, weak)
    _regions(axes, cuts)
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel=f"stratified rank, weak: {scores.runs[0]['weak']}",
             ylabel=f"stratified rank, strong: {scores.runs[0]['scorer']}")  # fmt: skip
    above = (strong - weak > THRESHOLD).mean()
    drawing.note(figure, drawing.of_scores(scores, weak=True), "Regions: the extreme quarter each.",
                 f"Dotted: Diff = {THRESHOLD}; {above:.1%} of the pairs lie above it (the paper: about "
                 f"{paper.NUMBERS['diff_high_share']:.0%}).")  # fmt: skip
    return figure


def boundaries(strong: np.ndarray, weak: np.ndarray) -> dict[str, float]:
    """Where the extreme quarter of each kind begins, in units of Diff or Sum."""
    diff, total = strong - weak, strong + weak
    return {"diff_high": float(np.quantile(diff, 1 - QUARTER)), "diff_low": float(np.quantile(diff, QUARTER)),
            "sum_high": float(np.quantile(total, 1 - QUARTER)), "sum_low": float(np.quantile(total, QUARTER))}  # fmt: skip


def _regions(axes: Axes, cuts: dict[str, float]) -> None:
    x = np.array([0.0, 1.0])
    corners = {"Diff-High": (x + cuts["diff_high"], 1.01, "\\\\\\\\"), "Diff-Low": (x + cuts["diff_low"], -0.01, "\\\\\\\\"),
               "Sum-High": (cuts["sum_high"] - x, 1.01, "...."), "Sum-Low": (cuts["sum_low"] - x, -0.01, "....")}  # fmt: skip
    places = {"Diff-High": (0.03, 0.97, "left", "top"), "Diff-Low": (0.97, 0.03, "right", "bottom"),
              "Sum-High": (0.97, 0.97, "right", "top"), "Sum-Low": (0.03, 0.03, "left", "bottom")}  # fmt: skip
    for name, (edge, end, hatch) in corners.items():
        color = drawing.look(name).color
        inside = edge < 1 if end > 1 else edge > 0
        axes.plot(x, edge, color=color, linestyle=drawing.look(name).line, linewidth=1.3)
        if inside.any():
            axes.fill_between(
                x, edge, end, where=None, facecolor="none", edgecolor=color, hatch=hatch, linewidth=0, alpha=0.45
            )
        left, top, ha, va = places[name]
        axes.text(left, top, name, ha=ha, va=va, fontsize=8, weight="bold", zorder=6,
                  bbox={"facecolor": "white", "edgecolor": color, "pad": 1.5, "linewidth": 0.8})  # fmt: skip
    axes.plot(x, x + THRESHOLD, color=drawing.DARK, linewidth=0.9, linestyle=(0, (1, 1.5)))
