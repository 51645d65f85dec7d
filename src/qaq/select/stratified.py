"""Stratified RMI (QAQ, section 3): the band of the RMI rank inside each of K quantile bins of PPL(Q).

RMI is heteroscedastic in log PPL(Q): a simple query has little to gain from its answer, so one global ranking would
throw simple, valid queries away. With low = 0.5 a budget of 0.25 is the paper's 50-75% and 0.5 its top half.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from omegaconf import MISSING

from qaq.select.base import Choice, apportion, band, check_band, column, ranks_within, scaled, strata


@dataclass
class Settings:
    """`low`: share of the rank where the band starts; `strata`: K, the number of bins of PPL(Q)."""

    low: float = MISSING
    strata: int = MISSING

    def check(self) -> None:
        """ValueError unless low is in [0, 1) and there is at least one stratum."""
        if not 0 <= self.low < 1:
            raise ValueError(f"selector.low={self.low}: the band starts at a share in [0, 1)")
        if self.strata < 1:
            raise ValueError(f"selector.strata={self.strata}: at least 1 bin")


def choose(metrics: pa.Table, settings: Settings, count: int, seed: int) -> Choice:
    """`count` pairs in all, divided over the strata in proportion to their sizes."""
    stratum = strata(column(metrics, "log_ppl_q"), settings.strata)
    position, size = ranks_within(column(metrics, "rmi"), stratum)
    check_band(settings.low, count, metrics.num_rows)
    shares = apportion(count, np.bincount(stratum))
    return Choice(band(position, size, settings.low, shares[stratum]), scaled(position, size), stratum)
