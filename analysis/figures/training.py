"""Training curves: loss and learning rate of every update."""

import logging

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import drawing
from analysis.logs import Logs
from analysis.usable import Run, label, of_data, share, usable

log = logging.getLogger(__name__)
NEEDS = ("runs", "training")


def figure(logs: Logs) -> Figure | None:
    """One budget and the full data; each training seed a line."""
    runs = trained(logs)
    if not runs:
        log.info("training: no usable run was trained")
        return None
    figure = drawing.blank(3.5)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    rows, spans = logs.training.to_pylist(), set()
    for run in runs:
        for seed in sorted({row["train_seed"] for row in rows if row["run"] == run["run"]}):
            own = [row for row in rows if row["run"] == run["run"] and row["train_seed"] == seed]
            steps, loss = np.array([row["step"] for row in own]), np.array([row["loss"] for row in own])
            span = max(1, len(own) // 25)
            spans.add(span)
            how = drawing.look(label(run))
            name = f"{label(run)}, {share(run):.0%}"
            above.plot(
                steps,
                smooth(loss, span),
                color=how.color,
                linestyle=how.line,
                marker=how.marker,
                markevery=0.2,
                markersize=3.5,
                label=name,
            )
            below.plot(steps, [row["learning_rate"] for row in own], color=how.color, linestyle=how.line)
    above.set_ylabel("training loss\n(nats per completion token)")
    below.set(ylabel="learning rate", xlabel="update")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    handles = dict(zip(*above.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(handles.values(), handles, loc="outside upper left", ncols=2)
    widest = max(spans)
    smoothed = (
        f"Loss: running mean over {widest} updates at most." if widest > 1 else "Loss of every update, not smoothed."
    )
    others = len(set(logs.training["run"].to_pylist()) & {run["run"] for run in usable(logs)}) - len(runs)
    drawing.note(figure, f"{of_data(runs[0])}; tuned {runs[0]['target']}, recipe {runs[0]['train']}.", smoothed,
                 f"{others} trained run{'s' * (others > 1)} of other budgets or settings not shown." if others else "")  # fmt: skip
    return figure


def trained(logs: Logs) -> list[Run]:
    """The runs of the largest data set with a training, at the budget most of them have, and full."""
    held = set(logs.training["run"].to_pylist())
    runs = [run for run in usable(logs) if run["run"] in held]
    if not runs:
        return []
    first = max(runs, key=lambda run: (run["pairs"], run["data_digest"], run["target"], run["train"]))
    same = [
        run for run in runs if all(run[k] == first[k] for k in ("data_digest", "rows", "scores", "target", "train"))
    ]
    budgets = [run["budget"] for run in same if run["selector"] != "full"]
    best = min(budgets, key=lambda b: (-budgets.count(b), abs(float(b) - 0.25), b), default=None)
    kept = [run for run in same if run["selector"] == "full" or run["budget"] == best]
    return sorted(kept, key=lambda run: (drawing.order(label(run)), run["seed"] or 0, run["run"]))


def smooth(values: np.ndarray, span: int) -> np.ndarray:
    """Mean of the last `span` values, of fewer at the start."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - span)
    return (sums[ends] - sums[starts]) / (ends - starts)
