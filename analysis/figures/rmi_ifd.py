"""RMI against IFD: two questions to one pair, and how far their orders agree (QAQ: Spearman 0.252)."""

import logging

from matplotlib.figure import Figure

from analysis import drawing, paper
from analysis.logs import Logs
from analysis.measures import interval, limits, spearman
from analysis.usable import largest

log = logging.getLogger(__name__)
NEEDS = ("runs", "metrics")


def figure(logs: Logs) -> Figure | None:
    """A cloud of pairs; IFD's own limit of 1 is dashed."""
    scores = largest(logs, ["rmi", "ifd"])
    found = spearman(scores.array("rmi"), scores.array("ifd")) if scores else None
    if found is None:
        log.info("rmi_ifd: no usable run has RMI and IFD of at least four pairs")
        return None
    x, y = scores.array("ifd"), scores.array("rmi")
    across, along = limits(x), limits(y)
    figure = drawing.blank(2.3)
    axes = figure.add_subplot()
    drawing.points(axes, x, y, color=drawing.BLUE)
    axes.axvline(1, color=drawing.DARK, linewidth=0.8, linestyle=(0, (4, 2)))
    axes.axhline(0, color=drawing.PALE, linewidth=0.6, zorder=0)
    axes.set(xlim=across[:2], ylim=along[:2], xlabel="IFD = NLL(A|Q) / NLL(A)", ylabel="RMI (nats per token)")
    drawing.letter(
        axes,
        f"Spearman {interval(found)}; paper {paper.NUMBERS['rmi_ifd_spearman']}",
    )
    out = ((x < across.low) | (x > across.high) | (y < along.low) | (y > along.high)).sum()
    drawing.note(figure, drawing.of_scores(scores), f"The paper: {paper.SCORED}. Dashed: IFD = 1, above which a pair is dropped;",
                 f"{(x > 1).mean():.1%} of the pairs lie there.", drawing.outside(int(out)))  # fmt: skip
    return figure
