"""Whether a selection trains a better model than a random one of its size, and whether it does what all pairs do."""

import logging
from collections import Counter
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import drawing, scored, selected
from analysis.logs import Logs
from analysis.selected import Arm, everything, random_of
from analysis.usable import of_data, of_scorer
from qaq.evaluate.statistics import Estimate

log = logging.getLogger(__name__)
NEEDS = ("runs", "likelihoods")


def figure(logs: Logs) -> Figure | None:
    """A panel each kind of right answers; a row a selection: its NLL less that of random selections. Left is better."""
    found = [
        (setting, benchmark, drawn)
        for setting, benchmark, arms in selected.comparable(logs)
        if (drawn := _of_one_budget(arms))
    ]
    if not found:
        log.info("differences: no usable run of a selection can be compared with a random one of its size")
        return None
    panels = [(benchmark, *drawn) for setting, benchmark, drawn in found if setting == found[0][0]]
    names = list(dict.fromkeys(arm.name for _, arms, *_ in panels for arm in arms))
    figure = drawing.blank(0.75 + 0.2 * len(names), drawing.PAGE if len(panels) > 1 else drawing.COLUMN)
    # One scale: a length means the same in each.
    grid = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (benchmark, arms, random, full) in zip(grid, panels, strict=True):
        _panel(axes, names, arms, random, full)
        axes.set_xlabel("NLL less that after a random selection\n(nats per token; left is better)")
        drawing.letter(axes, scored.benchmark(benchmark))
    grid[0].set_yticks(range(len(names)), names)
    grid[0].set_ylim(len(names) - 0.5, -0.5)
    _, arms, random, full = panels[0]
    run = arms[0].run
    seeds = sorted({len(arm.models) for arm in (*arms, random)})
    drawing.note(figure, f"{of_data(run)}; scorer {of_scorer(run)}; tuned {run['target']}, recipe {run['train']}. Budget {run['budget']}, "
                 f"{run['selected']:,} pairs; {' or '.join(map(str, seeds))} model{'s' * (seeds != [1])} each. Whiskers: 95% intervals, paired over "
                 "texts, models included, not corrected for their number.", "Dashed, with its interval: all pairs." if full else "")  # fmt: skip
    return figure


def _of_one_budget(arms: Sequence[Arm]) -> tuple[list[Arm], Arm, Arm | None] | None:
    """(selections, the random one of their size, all pairs) of the budget that most selections share."""
    compared = [(arm, random) for arm in arms if (random := random_of(arm, arms))]
    if not compared:
        return None
    budgets = Counter(arm.run["budget"] for arm, _ in compared)
    most = max(budgets, key=lambda budget: (budgets[budget], budget))
    some = [(arm, random) for arm, random in compared if arm.run["budget"] == most]
    random = some[0][1]
    return [arm for arm, _ in some], random, everything(random, arms)


def _panel(axes: Axes, names: Sequence[str], arms: Sequence[Arm], random: Arm, full: Arm | None) -> None:
    axes.axvline(0, color=drawing.DARK, linewidth=0.9, zorder=1)
    if full and (less := full.less(random)):
        axes.axvline(less[0].value, color=drawing.DARK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        if less[0].low is not None:
            axes.axvspan(less[0].low, less[0].high, color="0.92", linewidth=0, zorder=0)
    for arm in arms:
        if less := arm.less(random):
            _row(axes, names.index(arm.name), arm.name, less[0])
    axes.tick_params(axis="y", length=0)


def _row(axes: Axes, y: int, name: str, less: Estimate) -> None:
    how = drawing.look(name)
    error = None if less.low is None else [[less.value - less.low], [less.high - less.value]]
    axes.errorbar(
        less.value, y, xerr=error, color=how.color, marker=how.marker, markersize=5, linewidth=1.1, capsize=2, zorder=3
    )
