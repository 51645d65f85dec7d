"""IFD (Cherry): how much the query helps to predict the answer; the highest ratios not above `max_ifd` are kept.

`loss` is the original ratio of mean losses; `perplexity` is Superfiltering's ratio of perplexities: the same side of
1, another order.
"""

from dataclasses import dataclass
from enum import Enum

import numpy as np
import pyarrow as pa
from omegaconf import MISSING

from qaq.select.base import Choice, column, top


class Ratio(Enum):
    """Which two quantities are divided: conditional over unconditional."""

    loss = "loss"
    perplexity = "perplexity"


@dataclass
class Settings:
    """`max_ifd`: pairs above it are dropped, because there the query makes the answer harder; null keeps all."""

    ratio: Ratio = MISSING
    max_ifd: float | None = MISSING


def choose(metrics: pa.Table, settings: Settings, count: int, seed: int) -> Choice:
    """The `count` highest ratios; ValueError if fewer pairs than that are not above `max_ifd`."""
    given, alone = column(metrics, "log_ppl_a_given_q"), column(metrics, "log_ppl_a")
    ifd = column(metrics, "ifd") if settings.ratio is Ratio.loss else np.exp(given - alone)
    eligible = np.ones(len(ifd), dtype=bool) if settings.max_ifd is None else ifd <= settings.max_ifd
    if eligible.sum() < count:
        raise ValueError(f"only {eligible.sum()} of {len(ifd)} pairs have IFD <= {settings.max_ifd}, and the budget asks "
                         f"for {count}: lower the budget, or keep the rest with selector.max_ifd=null")  # fmt: skip
    return Choice(top(np.where(eligible, ifd, -np.inf), count), ifd)
