"""Why RMI is stratified: its spread grows with log PPL(Q) (QAQ, section 3); its rank inside a decile does not."""

import logging

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import drawing
from analysis.logs import Logs
from analysis.measures import DECILES, limits
from analysis.usable import Scores, largest
from qaq.select.base import ranks_within, scaled, strata

log = logging.getLogger(__name__)
NEEDS = ("runs", "metrics")


def figure(logs: Logs) -> Figure | None:
    """Above: RMI; below: its rank inside the decile; both against log PPL(Q)."""
    scores = largest(logs, ["rmi", "log_ppl_q"])
    if scores is None or scores.metrics.num_rows < 2 * DECILES:
        log.info("strata: no usable run has RMI and log PPL(Q) of at least %d pairs", 2 * DECILES)
        return None
    return _drawn(scores)


def spreads(values: np.ndarray, stratum: np.ndarray) -> np.ndarray:
    """10th, 50th and 90th percentile of `values` in each stratum."""
    return np.array([np.percentile(values[stratum == k], [10, 50, 90]) for k in range(stratum.max() + 1)])


def _drawn(scores: Scores) -> Figure:
    x, rmi = scores.array("log_ppl_q"), scores.array("rmi")
    stratum = strata(x, DECILES)
    rank = scaled(*ranks_within(rmi, stratum))
    across, along = limits(x), limits(rmi)
    figure = drawing.blank(3.9)
    above, below = figure.subplots(2, 1, sharex=True)
    for axes, values in ((above, rmi), (below, rank)):
        drawing.points(axes, x, values)
        _deciles(axes, x, values, stratum)
    above.set(ylim=along[:2], ylabel="RMI (nats per token)")
    below.axhspan(0.5, 0.75, color=drawing.SKY, alpha=0.3, linewidth=0)
    below.set(
        xlim=across[:2], ylim=(0, 1), ylabel="rank of RMI inside its decile", xlabel="log PPL(Q) (nats per token)"
    )
    below.set_yticks([0, 0.25, 0.5, 0.75, 1])
    drawing.letter(above, "before: RMI")
    drawing.letter(below, "after: stratified (shaded: 50–75%)")
    out = ((x < across.low) | (x > across.high) | (rmi < along.low) | (rmi > along.high)).sum()
    width = np.diff(spreads(rmi, stratum)[[0, -1]][:, [0, 2]])[:, 0]
    drawing.note(figure, drawing.of_scores(scores), "Bars: median, 10th to 90th percentile in each decile of PPL(Q);",
                 f"that span of RMI is {width[0]:.2f} in the first and {width[1]:.2f} nats per token in the last.",
                 drawing.outside(int(out)))  # fmt: skip
    return figure


def _deciles(axes: Axes, x: np.ndarray, values: np.ndarray, stratum: np.ndarray) -> None:
    low, middle, high = spreads(values, stratum).T
    centre = np.array([np.median(x[stratum == k]) for k in range(DECILES)])
    for k in range(1, DECILES):
        axes.axvline(
            (x[stratum == k].min() + x[stratum == k - 1].max()) / 2, color=drawing.PALE, linewidth=0.5, zorder=0
        )
    axes.errorbar(centre, middle, [middle - low, high - middle], color=drawing.DARK, fmt="o", markersize=3.5, linewidth=1.1,
                  markerfacecolor="white", zorder=3)  # fmt: skip
