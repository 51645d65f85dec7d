"""How far the selections of one budget hold the same pairs."""

import logging

import numpy as np
from matplotlib.figure import Figure

from analysis import drawing
from analysis.logs import Logs
from analysis.measures import jaccard, shared
from analysis.usable import asks_weak, label, largest, one_budget, repeated, selections

log = logging.getLogger(__name__)
NEEDS = ("runs", "metrics", "subsets")


def figure(logs: Logs) -> Figure | None:
    """A heatmap: Jaccard above the diagonal, the share of the smaller selection below it."""
    scores = largest(logs, ["rmi"])
    chosen = one_budget(selections(logs, scores.runs)) if scores else []
    if len(chosen) < 2:
        log.info("overlap: fewer than two selectors with one budget")
        return None
    chosen.sort(key=lambda one: drawing.order(label(one[0])))
    names, sets = [label(run) for run, _ in chosen], [ids for _, ids in chosen]
    figure = drawing.blank(0.35 + 0.2 * len(names))
    axes = figure.add_subplot()
    values = matrix(sets)
    axes.imshow(values, cmap="Greys", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(values.shape):
        if i != j:
            dark = values[i, j] > 0.55
            axes.text(
                j,
                i,
                f"{100 * values[i, j]:.0f}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if dark else "black",
            )
    axes.plot([-0.5, len(sets) - 0.5], [-0.5, len(sets) - 0.5], color=drawing.GREY, linewidth=0.6)
    axes.set_xticks(range(len(names)), range(1, len(names) + 1))
    axes.set_yticks(range(len(names)), [f"{name}  {place}" for place, name in enumerate(names, 1)])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    run, sizes = chosen[0][0], sorted({len(ids) for ids in sets})
    each = f"{sizes[0]:,} pairs each" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,} pairs each"
    drawing.note(figure, drawing.of_scores(scores, any(asks_weak(run) for run, _ in chosen)), f"Budget {run['budget']}, {each}.",
                 "Above the diagonal: Jaccard, %. Below: pairs in both, % of the smaller selection; by chance",
                 f"{sizes[-1] / run['pairs']:.0%}.", repeated(chosen, scores.runs))  # fmt: skip
    return figure


def matrix(sets: list[frozenset[str]]) -> np.ndarray:
    """Jaccard above the diagonal, `shared` below; nan on it."""
    values = np.full((len(sets), len(sets)), np.nan)
    for i, a in enumerate(sets):
        for j, b in enumerate(sets):
            if i != j:
                values[i, j] = jaccard(a, b) if i < j else shared(a, b)
    return values
