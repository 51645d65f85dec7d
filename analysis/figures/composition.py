"""What each selector takes against the pool: over- and under-representation of sources, lengths, languages and topics."""

import logging
import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import composed, drawing
from analysis.composed import Pool, Value
from analysis.logs import Logs
from analysis.usable import label

log = logging.getLogger(__name__)
NEEDS = ("runs", "composition")
SMALLEST, MOST = 0.02, 8  # share of the pool that a value needs for a row of its own, and rows of a facet
FARTHEST = 2.0  # times the pool's share, or that part of it, at which a bar ends
LINE = 0.128  # inches a row
SHARES = 0.2  # width of the pool's shares, as a part of that of all bars
COLUMNS = 10  # selectors that fit in one column


def figure(logs: Logs) -> Figure | None:
    """A row a value, a column a selector: bars to the right for more than in the pool, to the left for less."""
    pool = composed.drawn(logs)
    if pool is None:
        log.info("composition: of no usable run with a selection it was measured")
        return None
    facets = {facet: rows(values, pool.pairs) for facet, values in pool.facets.items() if len(values) > 1}
    if not facets:
        log.info("composition: all pairs are alike in every facet")
        return None
    names = [label(run) for run in pool.runs]
    lines = sum(len(values) + 1 for values in facets.values())
    longest = max(map(len, names))
    figure = drawing.blank(
        LINE * lines + 0.058 * longest + 0.1, drawing.COLUMN if len(names) <= COLUMNS else drawing.PAGE
    )
    axes = figure.add_subplot()
    axes.set(xlim=(-0.5 - SHARES * len(names), len(names) - 0.5), ylim=(lines - 0.4, -0.8))
    _draw(axes, pool, facets)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.tick_params(length=0, pad=1)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    drawing.note(figure, f"n = {composed.described(pool)} Numbers: share of the pool. Bars: share of the selection",
                 f"over share of the pool, right more, left less, their ends at {FARTHEST:g} times and 1/{FARTHEST:g} (capped beyond);",
                 "filled: further off than 95% of random draws.")  # fmt: skip
    return figure


def rows(values: list[Value], pairs: int) -> list[Value]:
    """The values with a row of their own, in their order, and all others as one."""
    most = sorted(values, key=lambda value: -value.pool)[:MOST]
    own = [value for value in values if value in most and value.pool >= SMALLEST * pairs]
    rest = [value for value in values if value not in own]
    if len(rest) < 2:
        return values
    summed = tuple(map(sum, zip(*(value.selected for value in rest), strict=True)))
    return [*own, Value(f"{len(rest)} others", sum(value.pool for value in rest), summed)]


def _draw(axes: Axes, pool: Pool, facets: dict[str, list[Value]]) -> None:
    ticks, labels, line = [], [], 0
    for facet, values in facets.items():
        axes.text(
            -0.02,
            line,
            facet,
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=7,
            fontweight="bold",
        )
        axes.axhline(line + 0.5, color=drawing.PALE, linewidth=0.5, zorder=0)
        for value in values:
            line += 1
            ticks.append(line)
            labels.append(value.name.replace("-", "–") if value.name[0].isdigit() else value.name)
            axes.text(
                -0.5 - 0.02 * len(pool.runs),
                line,
                _percent(value.pool / pool.pairs),
                ha="right",
                va="center",
                fontsize=7,
                color=drawing.GREY,
            )
            for column, (count, size) in enumerate(zip(value.selected, pool.sizes, strict=True)):
                _bar(axes, column, line, count, size, value.pool, pool.pairs)
        line += 1
    for column in range(len(pool.runs)):
        axes.axvline(column, color=drawing.PALE, linewidth=0.5, zorder=0)
    axes.set_yticks(ticks, labels)


def _bar(axes: Axes, column: int, line: int, selected: int, size: int, pool: int, pairs: int) -> None:
    times = composed.ratio(selected, size, pool, pairs)
    far = math.log(times, FARTHEST) if times else -math.inf
    width, color = 0.43 * max(-1.0, min(1.0, far)), drawing.BLUE if far > 0 else drawing.ORANGE
    chance = composed.by_chance(selected, size, pool, pairs)
    axes.barh(line, width, 0.66, left=column, facecolor="white" if chance else color, edgecolor=drawing.GREY if chance else color,
              linewidth=0.5)  # fmt: skip
    if abs(far) > 1:
        axes.plot([column + width] * 2, [line - 0.42, line + 0.42], color="black", linewidth=1)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "<1%"
