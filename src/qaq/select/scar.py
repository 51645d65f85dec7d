"""SCAR: the pairs that its ranker scores highest for consistency of style and difficulty (Li et al. 2024, arXiv 2406.10882)."""

from dataclasses import dataclass

import pyarrow as pa

from qaq.select.base import Choice, column, top


@dataclass
class Settings:
    """No options; the ranker is signals.scar."""


def signals(settings: Settings) -> tuple[str, ...]:
    """The ranker's score."""
    return ("scar",)


def choose(metrics: pa.Table, settings: Settings, count: int, seed: int) -> Choice:
    """The `count` highest scores."""
    score = column(metrics, "scar")
    return Choice(top(score, count), score)
