"""Strong/weak disagreement (QAQ, section 3): Diff = r_s - r_w and Sum = r_s + r_w of the two models' RMI ranks.

Diff-High, the paper's choice, keeps pairs in which the strong model sees coherence that the weak one does not see
yet. Ranks are taken inside deciles of each model's own PPL(Q) as in the paper; `stratified: false` takes global
percentile ranks instead, as the authors' README does.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import pyarrow as pa
from omegaconf import MISSING

from qaq.select.base import Choice, column, ranks, ranks_within, scaled, strata, top

NEEDS_WEAK = True


class Kind(Enum):
    """Which end of which combination is kept."""

    diff_high = "diff_high"
    diff_low = "diff_low"
    sum_high = "sum_high"
    sum_low = "sum_low"


@dataclass
class Settings:
    """With a `threshold` t the size follows from the data, not from the budget: pairs whose Diff is above t (high) or
    below -t (low), or whose Sum is above 1 + t (high) or below 1 - t (low). The paper's Diff-High is t = 0.1."""

    kind: Kind = MISSING
    threshold: float | None = MISSING
    stratified: bool = MISSING
    strata: int = MISSING

    def check(self) -> None:
        """ValueError unless there is at least one stratum."""
        if self.strata < 1:
            raise ValueError(f"selector.strata={self.strata}: at least 1 bin")


def choose(metrics: pa.Table, settings: Settings, count: int, seed: int) -> Choice:
    """The most extreme `count` pairs, or all beyond the threshold; ValueError if none is."""
    strong, weak = _rank(metrics, "", settings), _rank(metrics, "weak_", settings)
    away = strong - weak if settings.kind in (Kind.diff_high, Kind.diff_low) else strong + weak - 1
    priority = away if settings.kind in (Kind.diff_high, Kind.sum_high) else -away
    if settings.threshold is None:
        return Choice(top(priority, count), priority)
    kept = priority > settings.threshold
    if not kept.any():
        raise ValueError(f"no pair is beyond selector.threshold={settings.threshold}; the most extreme lies at "
                         f"{priority.max():.3f}")  # fmt: skip
    return Choice(kept, priority)


def _rank(metrics: pa.Table, side: str, settings: Settings) -> np.ndarray:
    rmi = column(metrics, f"{side}rmi")
    if not settings.stratified:
        return scaled(ranks(rmi), len(rmi))
    position, size = ranks_within(rmi, strata(column(metrics, f"{side}log_ppl_q"), settings.strata))
    return scaled(position, size)
