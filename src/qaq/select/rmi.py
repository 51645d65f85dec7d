"""Global RMI bins (QAQ's ablation): a band of the RMI rank over all pairs, without strata."""

from dataclasses import dataclass

import pyarrow as pa
from omegaconf import MISSING

from qaq.select.base import Choice, band, check_band, column, ranks, scaled


@dataclass
class Settings:
    """`low`: the share of the rank where the band starts; the budget is its width."""

    low: float = MISSING

    def check(self) -> None:
        """ValueError unless low is in [0, 1)."""
        if not 0 <= self.low < 1:
            raise ValueError(f"selector.low={self.low}: the band starts at a share in [0, 1)")


def choose(metrics: pa.Table, settings: Settings, count: int, seed: int) -> Choice:
    """Pairs whose RMI rank lies in [low, low + budget]."""
    position, pairs = ranks(column(metrics, "rmi")), metrics.num_rows
    check_band(settings.low, count, pairs)
    return Choice(band(position, pairs, settings.low, count), scaled(position, pairs))
