"""Whether a selection trains a better model than a random one of its size, and whether it does what all pairs do."""

import logging
import textwrap
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import drawing, scored, selected
from analysis.logs import Logs
from analysis.selected import Arm, Setting, everything, random_of
from analysis.usable import of_data, of_scorer
from qaq.evaluate.statistics import Estimate

log = logging.getLogger(__name__)
NEEDS = ("runs", "likelihoods")
_SETTINGS = 3  # drawn at most
_LETTERS = 28  # of a line of a label


class Compared(NamedTuple):
    """Selections, the random one of their size, all pairs."""

    arms: list[Arm]
    random: Arm
    full: Arm | None


def figure(logs: Logs) -> Figure | None:
    """A row of panels each setting, a panel each kind of right answers, a row of it each selection: its NLL less that of random
    selections. Left is better."""
    found: dict[Setting, dict[str, Compared]] = defaultdict(dict)
    for setting, benchmark, arms in selected.comparable(logs):
        if compared := _of_one_budget(arms):
            found[setting][benchmark] = compared
    if not found:
        log.info("differences: no usable run of a selection can be compared with a random one of its size")
        return None
    drawn = list(found.values())[:_SETTINGS]
    benchmarks = list(dict.fromkeys(benchmark for panels in drawn for benchmark in panels))
    labels = [_labels(panels) for panels in drawn]
    lines = [sum(map(_lines, own.values())) for own in labels]
    height = sum(0.2 * own + 0.4 for own in lines) + 0.35
    figure = drawing.blank(height, drawing.PAGE if len(benchmarks) > 1 else drawing.COLUMN)
    # One scale: a length means the same in each.
    grid = figure.subplots(len(drawn), len(benchmarks), sharex=True, sharey="row", squeeze=False, height_ratios=lines)
    recipes = [setting.rest for setting in found]
    for row, (setting, panels), own in zip(grid, found.items(), labels, strict=False):
        _setting(row, benchmarks, panels, own, scored.differing(setting.rest, recipes))
    for axes in grid[-1]:
        axes.set_xlabel("NLL less that after a random selection\n(nats per token; left is better)")
    full = [bool(one.full) for panels in drawn for one in panels.values()]
    dashed = "Dashed, with its interval: all pairs" + ("." if all(full) else ", where they were trained so.")
    others = len(found) - len(drawn)
    drawing.note(figure, *dict.fromkeys(_how(panels) for panels in drawn), "Whiskers: 95% intervals, paired over texts, models included, not "
                 "corrected for their number.", dashed * any(full),
                 f"In table differences, not here: {others} other setting{'s' * (others > 1)}." * (others > 0))  # fmt: skip
    return figure


def _labels(panels: Mapping[str, Compared]) -> dict[str, str]:
    """{selection: its name, broken into lines}, in their order."""
    names = (arm.name for compared in panels.values() for arm in compared.arms)
    return {name: textwrap.fill(name, _LETTERS, break_on_hyphens=False) for name in names}


def _lines(label: str) -> int:
    return label.count("\n") + 1


def _setting(row: Sequence[Axes], benchmarks: Sequence[str], panels: Mapping[str, Compared], labels: Mapping[str, str],
             how: str) -> None:  # fmt: skip
    """One setting's panels, each selection at the middle of the lines of its label; `how`: what tells it from the other settings."""
    at, below = {}, 0
    for name, label in labels.items():
        at[name], below = below + (_lines(label) - 1) / 2, below + _lines(label)
    data = of_data(next(iter(panels.values())).random.run)
    for axes, benchmark, above in zip(row, benchmarks, (f"{data}{how}\n", *[""] * len(benchmarks)), strict=False):
        drawing.letter(axes, above + scored.benchmark(benchmark))
        if benchmark in panels:
            _panel(axes, at, panels[benchmark])
        else:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color=drawing.GREY)
    row[0].set_yticks(list(at.values()), list(labels.values()))
    row[0].set_ylim(below - 0.5, -0.5)


def _how(panels: Mapping[str, Compared]) -> str:
    """Who read the pairs, what was trained, and on how many."""
    arms, random, _ = next(iter(panels.values()))
    run, seeds = arms[0].run, sorted({len(arm.models) for arm in (*arms, random)})
    return (f"Scorer {of_scorer(run)}; tuned {run['target']}, recipe {run['train']}. Budget {run['budget']}, {run['selected']:,} pairs; "
            f"{' or '.join(map(str, seeds))} model{'s' * (seeds != [1])} each.")  # fmt: skip


def _of_one_budget(arms: Sequence[Arm]) -> Compared | None:
    """Those of the budget that most selections share."""
    compared = [(arm, random) for arm in arms if (random := random_of(arm, arms))]
    if not compared:
        return None
    budgets = Counter(arm.run["budget"] for arm, _ in compared)
    most = max(budgets, key=lambda budget: (budgets[budget], budget))
    some = [(arm, random) for arm, random in compared if arm.run["budget"] == most]
    random = some[0][1]
    return Compared([arm for arm, _ in some], random, everything(random, arms))


def _panel(axes: Axes, at: Mapping[str, float], compared: Compared) -> None:
    arms, random, full = compared
    axes.axvline(0, color=drawing.DARK, linewidth=0.9, zorder=1)
    if full and (less := full.less(random)):
        axes.axvline(less[0].value, color=drawing.DARK, linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        if less[0].low is not None:
            axes.axvspan(less[0].low, less[0].high, color="0.92", linewidth=0, zorder=0)
    for arm in arms:
        if less := arm.less(random):
            _row(axes, at[arm.name], arm.name, less[0])
    axes.tick_params(axis="y", length=0)


def _row(axes: Axes, y: float, name: str, less: Estimate) -> None:
    how = drawing.look(name)
    error = None if less.low is None else [[less.value - less.low], [less.high - less.value]]
    axes.errorbar(
        less.value, y, xerr=error, color=how.color, marker=how.marker, markersize=5, linewidth=1.1, capsize=2, zorder=3
    )
