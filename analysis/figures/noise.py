"""How much planted noise each selector lets through, where the data's labels are known."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from analysis import drawing
from analysis.logs import Logs
from analysis.usable import asks_weak, label, largest, one_budget, repeated, selections
from qaq.evaluate.statistics import wilson

log = logging.getLogger(__name__)
NEEDS = ("runs", "metrics", "subsets")
WORDS = {
    "swapped": "answers swapped",
    "echo": "answer echoes query",
    "invented": "invented terms",
    "cut": "answer cut off",
}
FILLS = (("0.25", ""), ("0.6", "////"), ("0.82", ""), ("white", "...."))  # told apart without colour


def figure(logs: Logs) -> Figure | None:
    """A bar a selector, a part a kind, Wilson's interval on the whole; the line is the data's own share."""
    scores = largest(logs, ["rmi"], labelled=True)
    chosen = one_budget(selections(logs, scores.runs)) if scores else []
    if not chosen:
        log.info("noise: no usable run has selected pairs whose planted noise is known")
        return None
    kinds = dict(zip(scores.metrics["id"].to_pylist(), scores.metrics["noise"].to_pylist(), strict=True))
    bars = [(label(run), counts(ids, kinds), len(ids)) for run, ids in chosen]
    bars.sort(key=lambda bar: (-sum(bar[1].values()) / bar[2], drawing.order(bar[0])))
    planted = counts(kinds, kinds)
    share = sum(planted.values()) / len(kinds)
    figure = drawing.blank(0.85 + 0.24 * len(bars))
    axes = figure.add_subplot()
    axes.axvline(100 * share, color=drawing.DARK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=0)
    _bars(axes, bars, planted)
    axes.set_xlabel("spoiled pairs in the selection (%)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    drawing.note(figure, drawing.of_scores(scores, any(asks_weak(run) for run, _ in chosen)),
                 f"Budget {chosen[0][0]['budget']}. Dashed: {share:.1%} of all pairs are spoiled,",
                 "in brackets how many of each kind. Whiskers: 95% intervals (Wilson). Right: spoiled pairs / selected pairs.",
                 repeated(chosen, scores.runs))  # fmt: skip
    return figure


def in_order(kinds: Iterable[str]) -> list[str]:
    """As in `WORDS`, then those that are not there."""
    return sorted(kinds, key=lambda kind: (list(WORDS).index(kind) if kind in WORDS else len(WORDS), kind))


def counts(ids: Iterable[str], kinds: Mapping[str, str]) -> Counter[str]:
    """Spoiled pairs among `ids`, a number a kind."""
    return Counter(kinds[id] for id in ids if kinds[id] not in ("clean", None))


def _bars(axes: Axes, bars: Sequence[tuple[str, Counter[str], int]], planted: Counter[str]) -> None:
    kinds = in_order(planted)
    intervals = [tuple(100 * bound for bound in wilson(sum(held.values()), size)) for _, held, size in bars]
    end = max(high for _, high in intervals)
    for y, ((_, held, size), (low, high)) in enumerate(zip(bars, intervals, strict=True)):
        left = 0.0
        for kind, (color, hatch) in zip(kinds, FILLS * len(kinds), strict=False):
            width = 100 * held[kind] / size
            axes.barh(y, width, left=left, height=0.62, color=color, hatch=hatch, edgecolor="black", linewidth=0.5,
                      label=f"{WORDS.get(kind, kind)} ({planted[kind]:,})" if y == 0 else None)  # fmt: skip
            left += width
        total = sum(held.values())
        drawn = axes.errorbar(left, y, xerr=[[left - low], [high - left]], color="black", linewidth=1.0, capsize=2)
        for part in (*drawn.lines[1], *drawn.lines[2]):  # light around the dark whisker: seen on any fill
            part.set_path_effects([withStroke(linewidth=2.4, foreground="white")])
        axes.text(end * 1.04, y, f"{total:,}/{size:,}", va="center", fontsize=7, bbox={"color": "white", "pad": 1})
    axes.set_yticks(np.arange(len(bars)), [name for name, *_ in bars])
    axes.invert_yaxis()
    axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= end])
    axes.set_xlim(0, end * 1.28)
    axes.tick_params(axis="y", length=0)
