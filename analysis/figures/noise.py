"""How much planted noise each selector lets through, where the data's labels are known."""

import logging
from collections import Counter

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import drawing
from analysis.logs import Logs
from analysis.usable import label, largest, one_budget, selections
from qaq.evaluate.statistics import wilson

log = logging.getLogger(__name__)
NEEDS = ("runs", "metrics", "subsets")
WORDS = {
    "swapped": "answers swapped",
    "echo": "answer echoes the query",
    "invented": "invented terms",
    "cut": "answer cut off",
}
FILLS = (("0.2", ""), ("0.55", "////"), ("0.8", ""), ("white", "...."))


def figure(logs: Logs) -> Figure | None:
    """A bar a selector, a part a kind, Wilson's interval on the whole; the line is the data's own share."""
    scores = largest(logs, ["rmi"], labelled=True)
    chosen = one_budget(selections(logs, scores.runs)) if scores else []
    if not chosen:
        return log.info("noise: no usable run with data.noise has selected pairs")
    kinds = dict(zip(scores.metrics["id"].to_pylist(), scores.metrics["noise"].to_pylist(), strict=True))
    bars = [(label(run), counts(ids, kinds), len(ids)) for run, ids in chosen]
    bars.sort(key=lambda bar: (-sum(bar[1].values()) / bar[2], drawing.order(bar[0])))
    planted = counts(kinds, kinds)
    figure = drawing.blank(0.85 + 0.24 * len(bars))
    axes = figure.add_subplot()
    _bars(
        axes, bars, sorted(planted, key=lambda kind: (list(WORDS).index(kind) if kind in WORDS else len(WORDS), kind))
    )
    share = sum(planted.values()) / len(kinds)
    axes.axvline(100 * share, color=drawing.DARK, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.set_xlabel("spoiled pairs in the selection (%)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    drawing.note(figure, drawing.of_scores(scores), f"Budget {chosen[0][0]['budget']}. Dashed: {share:.1%} of all pairs are spoiled",
                 f"({', '.join(f'{n} {kind}' for kind, n in sorted(planted.items()))}). Whiskers: 95% (Wilson).")  # fmt: skip
    return figure


def counts(ids: frozenset[str] | dict[str, str], kinds: dict[str, str]) -> Counter[str]:
    """Spoiled pairs among `ids`, a number a kind."""
    return Counter(kinds[id] for id in ids if kinds[id] not in ("clean", None))


def _bars(axes: Axes, bars: list[tuple[str, Counter[str], int]], kinds: list[str]) -> None:
    for y, (_, held, size) in enumerate(bars):
        left = 0.0
        for kind, (color, hatch) in zip(kinds, FILLS * len(kinds), strict=False):
            width = 100 * held[kind] / size
            axes.barh(y, width, left=left, height=0.62, color=color, hatch=hatch, edgecolor="black", linewidth=0.5,
                      label=WORDS.get(kind, kind) if y == 0 else None)  # fmt: skip
            left += width
        total = sum(held.values())
        low, high = (100 * bound for bound in wilson(total, size))
        axes.errorbar(left, y, xerr=[[left - low], [high - left]], color=drawing.RED, linewidth=1.0, capsize=2)
        axes.text(high + 1, y, f"{total}/{size}", va="center", fontsize=7)
    axes.set_yticks(np.arange(len(bars)), [name for name, *_ in bars])
    axes.invert_yaxis()
    axes.set_xlim(0, max(100 * wilson(sum(held.values()), size)[1] for _, held, size in bars) + 9)
    axes.tick_params(axis="y", length=0)
