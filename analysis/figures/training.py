"""Training curves: loss and learning rate, update by update."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import drawing
from analysis.logs import Logs
from analysis.scored import recipe
from analysis.usable import Run, label, model, of_data, usable

log = logging.getLogger(__name__)
NEEDS = ("runs", "training")
_WINDOWS = 8  # a point is the mean over as large a part of the updates: one update of few rows says little


def figure(logs: Logs) -> Figure | None:
    """One budget and the full data; a line a selection: the mean of its models, over updates that all of them made."""
    runs = trained(logs)
    if not runs:
        log.info("training: no usable run was trained")
        return None
    figure = drawing.blank(3.5)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    models = curves(logs, runs)
    for name, own in models.items():
        updates = min(len(rows) for rows in own)
        steps = [row["step"] for row in own[0][:updates]]
        loss, rate = (
            np.mean([[row[what] for row in rows[:updates]] for rows in own], axis=0)
            for what in ("loss", "learning_rate")
        )
        how, span = drawing.look(name), max(1, updates // _WINDOWS)
        running = np.convolve(loss, np.full(span, 1 / span), "valid")
        above.plot(steps[span - 1 :], running, color=how.color, linestyle=how.line, marker=how.marker, markevery=0.25,
                   markersize=3.5, linewidth=1.1, label=name)  # fmt: skip
        below.plot(steps, rate, color=how.color, linestyle=how.line, linewidth=1.1)
    above.set_ylabel("training loss\n(nats per completion token)")
    below.set(ylabel="learning rate", xlabel="update")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    figure.legend(loc="outside upper left", ncols=2)
    seeds = sorted({len(own) for own in models.values()})
    pooled = f"Loss: mean of {' or '.join(map(str, seeds))} model{'s' * (seeds != [1])} and of the last eighth of the updates."
    budgets = sorted({run["budget"] for run in runs if run["selector"] != "full"})
    others = len(set(logs.training["run"].to_pylist()) & {run["run"] for run in usable(logs)}) - len(runs)
    drawing.note(figure, f"{of_data(runs[0])}; tuned {runs[0]['target']}, recipe {runs[0]['train']}.",
                 f"Budget {budgets[0]}." if budgets else "", pooled,
                 f"{others} trained run{'s' * (others > 1)} of other budgets or settings not shown." if others else "")  # fmt: skip
    return figure


def trained(logs: Logs) -> list[Run]:
    """The runs of the largest data set with a training (ties: of the setting that most runs share), at the budget most of them
    have, and full."""
    held, settings = set(logs.training["run"].to_pylist()), defaultdict(list)
    for run in usable(logs):
        if run["run"] in held:
            names = ("data_digest", "rows", "scores", "target", "train")
            settings[(*(run[name] for name in names), recipe(run))].append(run)
    if not settings:
        return []
    same = settings[max(settings, key=lambda setting: (settings[setting][0]["pairs"], len(settings[setting]), setting))]
    budgets = [run["budget"] for run in same if run["selector"] != "full"]
    best = min(budgets, key=lambda b: (-budgets.count(b), abs(float(b) - 0.25), b), default=None)
    kept = [run for run in same if run["selector"] == "full" or run["budget"] == best]
    return sorted(kept, key=lambda run: (drawing.order(label(run)), run["seed"] or 0, run["run"]))


def curves(logs: Logs, runs: Sequence[Run]) -> dict[str, list[list[dict[str, Any]]]]:
    """{selection: the updates of each model that was trained on it}; a model that several runs share counts once."""
    held: dict[str, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for row in logs.training.to_pylist():
        held[row["run"]][row["train_seed"]].append(row)
    found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(dict)
    for run in runs:
        for seed, rows in held[run["run"]].items():
            found[label(run)].setdefault(model(run, seed), rows)
    return {name: list(own.values()) for name, own in found.items()}
