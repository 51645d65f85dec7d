"""The distribution of RMI: all pairs, and those that stratified RMI selects."""

import logging

import numpy as np
from matplotlib.figure import Figure

from analysis import drawing
from analysis.logs import Logs
from analysis.measures import limits
from analysis.usable import label, largest, one_budget, selections

log = logging.getLogger(__name__)
NEEDS = ("runs", "metrics", "subsets")
BARS = 40


def figure(logs: Logs) -> Figure | None:
    """Bars of all pairs, the selected ones in front; quartiles, because the paper's bins are quarters of the rank."""
    scores = largest(logs, ["rmi"])
    if scores is None:
        log.info("rmi: no usable run has RMI")
        return None
    rmi = scores.array("rmi")
    low, high, beyond = limits(rmi)
    edges = np.linspace(low, high, BARS + 1)
    figure = drawing.blank(2.1)
    axes = figure.add_subplot()
    axes.hist(rmi, edges, color=drawing.PALE, edgecolor="0.55", linewidth=0.4, label=f"all {len(rmi):,} pairs")
    for run, ids in one_budget(selections(logs, scores.runs)):
        if label(run) == "RMI (stratified)":
            kept = np.isin(scores.metrics["id"].to_pylist(), list(ids))
            axes.hist(rmi[kept], edges, color=drawing.BLUE, label=f"{len(ids):,} selected by {label(run)}")
    quartiles = np.percentile(rmi, [25, 50, 75])
    for name, value, side in zip(("25%", "50%", "75%"), quartiles, ("right", "center", "left"), strict=True):
        axes.axvline(value, color=drawing.DARK, linewidth=0.7, linestyle=(0, (4, 2)))
        axes.text(value, 1.0, name, transform=axes.get_xaxis_transform(), ha=side, va="bottom", fontsize=7)
    axes.set(xlim=(low, high), xlabel="RMI (nats per token)", ylabel="pairs")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left")
    drawing.note(figure, drawing.of_scores(scores), "Dashed: quartiles.", drawing.outside(beyond))
    return figure
