"""Selections side by side: what the models trained on each make of the same right answers."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from analysis import drawing
from analysis.logs import Logs
from analysis.paper import near
from analysis.scored import details, reading, recipe
from analysis.usable import Run, asks_weak, label, model, options, share, usable
from qaq.evaluate import HELD_OUT, statistics
from qaq.evaluate.statistics import Estimate, mean, per_token

_READING = ("evaluate.dtype", "evaluate.protocol", "evaluate.system_prompt")  # of evaluate: what moves a likelihood


class Setting(NamedTuple):
    """What two selections have to share to be compared: all but who read the pairs. `partial` is of the benchmark's tasks."""

    data: str
    rows: int
    target: str
    train: str
    partial: str
    rest: tuple[tuple[str, str], ...]


@dataclass
class Arm:
    """One selection, or the base: its models by their seeds, each with (summed NLL, tokens) of every text that it read."""

    run: Run
    name: str
    models: dict[str, dict[str, tuple[float, int]]]

    @property
    def nll(self) -> Estimate:
        """Nats per token, over all texts and models."""
        return mean(per_token(*_read([self])[0]))

    def less(self, other: "Arm") -> tuple[Estimate, float | None] | None:
        """The difference of the two in nats per token, and its p; None where they have read no text in common."""
        return contrast((1, self), (-1, other))

    def is_near(self, other: "Arm") -> bool:
        """Whether both have as many pairs."""
        return near(share(other.run), share(self.run) or 0)

    def is_like(self, other: "Arm") -> bool:
        """Whether both select in the same way, of whatever pairs."""
        return (label(self.run), _facts(self.run)) == (label(other.run), _facts(other.run)) and self.is_near(other)


def contrast(*terms: tuple[int, Arm]) -> tuple[Estimate, float | None] | None:
    """Of several arms, each with its sign (1 or -1), the NLL added up, in nats per token, and its p; None as in Arm.less."""
    read = _read([arm for _, arm in terms])
    signed = [(sign, per_token(sums_ST, tokens_T)) for (sign, _), (sums_ST, tokens_T) in zip(terms, read, strict=True)
              if len(tokens_T)]  # fmt: skip
    return statistics.contrast(*signed) if signed else None


def comparable(logs: Logs) -> list[tuple[Setting, str, list[Arm]]]:
    """(setting, benchmark or HELD_OUT, base and selections in their order), the settings with most pairs, then with most
    selections first; only where there are two selections or more."""
    runs = {run["run"]: run for run in usable(logs)}
    read: dict[tuple[str, str, Any, str], dict[str, tuple[float, int]]] = defaultdict(dict)
    for row in logs.likelihoods.to_pylist():
        if row["run"] in runs and row["nll_sum"] is not None:
            which = (row["run"], row["selector"], row["train_seed"], row["benchmark"])
            read[which][row["id"]] = (row["nll_sum"], row["tokens"])
    found: dict[tuple[Setting, str], dict[Any, Arm]] = defaultdict(dict)
    for (id, selector, seed, benchmark), texts in sorted(read.items(), key=str):
        run, base = runs[id], selector == "base"
        which = "base" if base else (label(run), run["budget"], *_facts(run).items())
        arm = found[_setting(run), benchmark].setdefault(which, Arm(run, "Base" if base else label(run), {}))
        arm.models["base" if base else model(run, seed)] = texts
    most = {setting: max(len(arms) for (other, _), arms in found.items() if other == setting) for setting, _ in found}
    order = sorted(found, key=lambda key: (-(key[0].rows or 0), -most[key[0]], str(key[0]), key[1] != HELD_OUT, key[1]))
    held = [(setting, benchmark, _told_apart(list(found[setting, benchmark].values()))) for setting, benchmark in order]
    return [one for one in held if sum(arm.name != "Base" for arm in one[2]) > 1]


def twins(arms: Sequence[Arm], others: Sequence[Arm]) -> list[tuple[Arm, Arm]]:
    """Each of `arms` with the one of `others` that selects in the same way; without the base."""
    return [
        (arm, other) for arm in arms for other in others if "Base" not in (arm.name, other.name) and arm.is_like(other)
    ]


def random_of(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """The random selection of the same size; None for itself and the base."""
    if arm.name in ("Base", "Random"):
        return None
    return next((other for other in arms if other.name == "Random" and arm.is_near(other)), None)


def stratified(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """The paper's selection of the same size, the band from the middle of RMI's rank, of exact spans where there are any; None
    for itself, all pairs and the base."""
    if arm.name in ("Base", "Full"):
        return None
    same = [
        other
        for other in arms
        if other.name != "Base" and label(other.run) == "RMI (stratified)" and arm.is_near(other)
    ]
    exact = min(same, key=lambda other: _facts(other.run).get("protocol") != '"exact"', default=None)
    return None if exact is arm else exact


def everything(arm: Arm, arms: Sequence[Arm]) -> Arm | None:
    """All pairs; None for itself and the base."""
    if arm.name in ("Base", "Full"):
        return None
    return next((other for other in arms if other.name == "Full"), None)


def _setting(run: Run) -> Setting:
    rest = (*recipe(run), *(item for item in details(run).items() if item[0] in _READING))
    return Setting(*(run[name] for name in ("data_digest", "rows", "target", "train", "partial")), tuple(sorted(rest)))


def _facts(run: Run) -> dict[str, str]:
    """Who read the pairs, and how; nothing where the selector does not look at that."""
    if options(run).get("name") in ("full", "random"):
        return {}
    weak = {"weak scorer": run["weak"]} if asks_weak(run) else {}
    return {"scorer": run["scorer"], **weak, **reading(run)}


def _told_apart(arms: list[Arm]) -> list[Arm]:
    """In their order; selections of one name and size with what their scorers do not share."""
    arms.sort(key=lambda arm: (*drawing.order(arm.name), share(arm.run) or 0, str(_facts(arm.run))))
    plain = [arm.name for arm in arms]
    for arm, name in zip(arms, plain, strict=True):
        twins = [
            other
            for other, its in zip(arms, plain, strict=True)
            if its == name and name != "Base" and arm.is_near(other)
        ]
        differing = [
            f"{fact} {value}"
            for fact, value in _facts(arm.run).items()
            if any(_facts(twin.run).get(fact) != value for twin in twins)
        ]
        arm.name = ", ".join([name, *differing])
    return arms


def _read(arms: Sequence[Arm]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(summed NLL, models by texts; tokens) of each arm, over the texts that all models of all arms have read."""
    models = [model for arm in arms for model in arm.models.values()]
    texts = sorted(set.intersection(*(set(model) for model in models)))
    tokens_T = np.array([models[0][id][1] for id in texts])
    return [(np.array([[model[id][0] for id in texts] for model in arm.models.values()]), tokens_T) for arm in arms]
