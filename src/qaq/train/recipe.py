"""Batch size and learning rate for a subset.

The paper sets both by the share of the data that is trained on (rows `by_share`: QAQ, fine-tuning details). Between
its rows nothing is known, so no value is made up: another share needs them given, or `interpolate`.
"""

import itertools
from typing import Any

from qaq.config import identity
from qaq.sections import TrainConfig

# A budget is rounded to whole pairs, so a subset's share is near its row, rarely on it.
SHARE_TOLERANCE = 0.005


def recipe(settings: dict[str, Any], share: float) -> dict[str, Any]:
    """`settings` with batch_size and learning_rate set for `share` of the data, in (0, 1], and by_share null.

    What the settings give themselves wins over the row. ValueError where neither does.
    """
    row = _row(settings, share) or (_between(settings, share) if settings["interpolate"] else {})
    found = {}
    for name, kind in (("batch_size", int), ("learning_rate", float)):
        value = row.get(name) if settings[name] is None else settings[name]
        if value is None:
            raise ValueError(_unknown(settings, share))
        if value <= 0 or value != kind(value):
            raise ValueError(f"train.{name}={value}: must be {'a whole number ' if kind is int else ''}above 0")
        found[name] = kind(value)
    return {**settings, **found, "by_share": None}


def determining(settings: dict[str, Any], ranks: int) -> dict[str, Any]:
    """What of a training's settings its result follows from. How rows are read is no part of it, unless an adapter's dropout
    is drawn while they are."""
    spent = {"name": None, "seeds": None, "interpolate": None}  # what has become a number, or never was one
    if settings["updates"]:
        spent["epochs"] = None  # nobody reads it then
    found = {**identity({**settings, **spent}, TrainConfig), "seed": settings["seed"]}
    if (settings["adapter"] or {}).get("dropout"):
        found["read"] = {
            "micro_batch_size": settings["micro_batch_size"],
            "packing": settings["packing"],
            "ranks": ranks,
        }
    return found


def _row(settings: dict[str, Any], share: float) -> dict[str, float] | None:
    near = [row for row in settings["by_share"] or [] if abs(row["share"] - share) <= SHARE_TOLERANCE]
    return min(near, key=lambda row: abs(row["share"] - share), default=None)


def _between(settings: dict[str, Any], share: float) -> dict[str, float]:
    """Straight lines between the rows next to `share`; nothing beyond the outermost ones."""
    rows = sorted(settings["by_share"] or [], key=lambda row: row["share"])
    for low, high in itertools.pairwise(rows):
        if low["share"] <= share <= high["share"]:
            part = (share - low["share"]) / (high["share"] - low["share"])
            found = {name: low[name] + part * (high[name] - low[name]) for name in ("batch_size", "learning_rate")}
            return {**found, "batch_size": round(found["batch_size"])}
    return {}


def _unknown(settings: dict[str, Any], share: float) -> str:
    known = ", ".join(f"{row['share']:g}" for row in settings["by_share"] or []) or "none"
    return (f"train={settings['name']} has no batch size and learning rate for {share:.2%} of the data "
            f"(shares with a row: {known}). Choose one of these shares, or give both yourself: train.batch_size=... "
            "train.learning_rate=..., or, between two of them, ask for train.interpolate=true")  # fmt: skip
