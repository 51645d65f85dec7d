"""XCoder (arXiv 2409.03810): complexity and quality in one score, then a walk down its ranking that keeps what is diverse.

s = alpha * norm(c) + (1 - alpha) * norm(q). The paper gives neither alpha nor the normalisation. A term that is switched off
leaves the other alone. The walk is in diversity.py.
"""

import logging
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from omegaconf import MISSING

from qaq.select import diversity
from qaq.select.base import Choice, column, held, matrix, middle_ranks, scaled, top

log = logging.getLogger(__name__)
Array = np.ndarray

DIGITS = 12  # sums that are equal on paper are ties, whatever their last bits


class Complexity(Enum):
    """The measures the paper compares: the scorer's expectation, words of the query, log PPL(A|Q)."""

    scorer = "scorer"
    query_length = "query_length"
    perplexity = "perplexity"


class Passed(Enum):
    """q: how many tests the answer passed, or which share of those that the model wrote."""

    count = "count"
    share = "share"


class Norm(Enum):
    """Onto [0, 1] by extremes; to mean 0 and deviation 1; the middle rank on [0, 1]."""

    minmax = "minmax"
    zscore = "zscore"
    rank = "rank"


class Unscored(Enum):
    """What a pair without a tested answer gets: the tested pairs' mean, or no place."""

    mean = "mean"
    drop = "drop"


@dataclass
class Settings:
    """`alpha`: the weight of complexity; `diversity`: the cosine similarity from which two queries are too close, null: none is."""

    complexity: Complexity | None = MISSING
    quality: bool = MISSING
    passed: Passed = MISSING
    unscored: Unscored = MISSING
    alpha: float = MISSING
    norm: Norm = MISSING
    diversity: float | None = MISSING
    exact_up_to: int = MISSING

    def check(self) -> None:
        """ValueError for what leaves no ranking, or lies out of range."""
        if self.complexity is None and not self.quality:
            raise ValueError("selector.complexity=null and selector.quality=false leave nothing to rank by (diversity only thins a "
                             "ranking): switch one on, or take selector=random")  # fmt: skip
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"selector.alpha={self.alpha}: the weight of complexity lies in [0, 1]")
        if self.diversity is not None and not 0 < self.diversity < 1:
            raise ValueError(
                f"selector.diversity={self.diversity}: a cosine similarity between 0 and 1, or null for no sampler"
            )
        if self.exact_up_to < 0:
            raise ValueError(f"selector.exact_up_to={self.exact_up_to}: a number of pairs, from 0")


def signals(settings: Settings) -> tuple[str, ...]:
    """What is switched on; perplexity is the scorer's."""
    asked = {"complexity": settings.complexity is Complexity.scorer, "query_length": settings.complexity is Complexity.query_length,
             "quality": settings.quality, "embedding": settings.diversity is not None}  # fmt: skip
    return tuple(name for name, on in asked.items() if on)


def choose(metrics: pa.Table, settings: Settings, count: int, seed: int) -> Choice:
    """The `count` best that are far enough from each other; ties by id. A pair that lacks a value that is asked for cannot be
    chosen, and is counted in the log. ValueError if too few can, or too few are far enough from each other."""
    gaps = _gaps(metrics, settings)
    able = ~np.any([np.zeros(metrics.num_rows, dtype=bool), *gaps.values()], axis=0)
    lacking = ", ".join(f"{mask.sum()} without {what}" for what, mask in gaps.items() if mask.any())
    if able.sum() < count:
        raise ValueError(f"only {able.sum()} of {len(able)} pairs can be chosen, and the budget asks for {count} ({lacking}): lower "
                         "the budget, or switch off what is missing (selector.unscored=mean ranks untested answers)")  # fmt: skip
    if lacking:
        log.warning("xcoder: %d of %d pairs cannot be chosen: %s", (~able).sum(), len(able), lacking)
        metrics = metrics.filter(pa.array(able))
    score, rows = np.full(len(able), -np.inf), np.flatnonzero(able)
    score[rows] = scores(metrics, settings)
    if settings.diversity is None:
        return Choice(top(score, count), score)
    kept = np.zeros(len(able), dtype=bool)
    kept[rows[_diverse(metrics, score[rows], settings, count)]] = True
    return Choice(kept, score)


def scores(metrics: pa.Table, settings: Settings) -> Array:
    """s of every row, float64 [N]. Complexity is normalised over all rows, quality over the tested ones."""
    terms = []
    if settings.complexity is not None:
        terms.append((settings.alpha, _normalised(_complexity(metrics, settings.complexity), settings.norm)))
    if settings.quality:
        terms.append((1 - settings.alpha, _quality(metrics, settings)))
    both = sum(weight * values for weight, values in terms) if len(terms) == 2 else terms[0][1]
    return np.round(both, DIGITS)


def _diverse(metrics: pa.Table, score: Array, settings: Settings, count: int) -> Array:
    order = np.argsort(-score, kind="stable")
    kept = diversity.walk(matrix(metrics, "embedding"), order, settings.diversity, count, settings.exact_up_to)
    if len(kept) < count:
        raise ValueError(f"only {len(kept)} of {len(order)} pairs are far enough from each other (cosine similarity below "
                         f"selector.diversity={settings.diversity}), and the budget asks for {count}: lower the budget, raise "
                         "selector.diversity, or set it to null")  # fmt: skip
    return kept


def _gaps(metrics: pa.Table, settings: Settings) -> dict[str, Array]:
    """What is asked for and a pair may lack: the pairs that lack it, bool [N]."""
    gaps = {}
    if settings.complexity is not None:
        gaps["complexity"] = np.isnan(_complexity(metrics, settings.complexity))
    if settings.quality and settings.unscored is Unscored.drop:
        gaps["a tested answer"] = np.isnan(_passed(metrics, settings.passed))
    if settings.diversity is not None:
        gaps["an embedding"] = held(metrics, "embedding").is_null().to_numpy()
    return gaps


def _complexity(metrics: pa.Table, measure: Complexity) -> Array:
    """float64 [N]; NaN where the scorer could say nothing."""
    if measure is Complexity.scorer:
        return held(metrics, "complexity").to_numpy().astype(np.float64)
    return column(metrics, "query_words" if measure is Complexity.query_length else "log_ppl_a_given_q")


def _passed(metrics: pa.Table, passed: Passed) -> Array:
    """q before it is normalised, float64 [N]; NaN where no test ran."""
    values = held(metrics, "passed").to_numpy().astype(np.float64)
    tested = pc.fill_null(pc.equal(held(metrics, "quality_status"), "tested"), False).to_numpy()
    if passed is Passed.share:
        values = values / held(metrics, "tests").to_numpy()
    return np.where(tested, values, np.nan)


def _quality(metrics: pa.Table, settings: Settings) -> Array:
    values = _passed(metrics, settings.passed)
    tested = ~np.isnan(values)
    if not tested.any():
        raise ValueError(f"none of {len(values)} answers was tested, so there is no quality to rank by: see quality_status in "
                         "quality.parquet, or rank without it (selector.quality=false)")  # fmt: skip
    values[tested] = _normalised(values[tested], settings.norm)
    values[~tested] = values[tested].mean()
    return values


def _normalised(values: Array, norm: Norm) -> Array:
    """float64 [N]. Values that are all alike say nothing: all 0, or the middle rank."""
    if norm is Norm.rank:
        return scaled(middle_ranks(values) - 1, len(values))
    low, size = (values.min(), np.ptp(values)) if norm is Norm.minmax else (values.mean(), values.std())
    return (values - low) / size if np.ptp(values) else np.zeros(len(values))
