"""The few numbers that figures and tables both state."""

from collections.abc import Sequence, Set
from typing import NamedTuple

import numpy as np

from qaq.evaluate.statistics import Z95, Estimate, wilson
from qaq.select.base import middle_ranks, ranks_within, scaled, strata

DECILES = 10  # of PPL(Q)


class Spearman(NamedTuple):
    """Rank correlation, its 95% interval, and the number of pairs."""

    value: float
    low: float
    high: float
    n: int


def spearman(x: np.ndarray, y: np.ndarray) -> Spearman | None:
    """Ties share their middle rank. Interval: Fisher's z with the variance of Bonett and Wright 2000 (doi 10.1007/BF02294183).

    None for fewer than four pairs, and where one side is constant.
    """
    if len(x) < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    value = float(np.clip(np.corrcoef(middle_ranks(x), middle_ranks(y))[0, 1], -1, 1))
    half = Z95 * np.sqrt((1 + value**2 / 2) / (len(x) - 3))
    z = np.arctanh(np.clip(value, -1 + 1e-15, 1 - 1e-15))
    return Spearman(value, float(np.tanh(z - half)), float(np.tanh(z + half)), len(x))


def stratified(rmi: np.ndarray, log_ppl_q: np.ndarray) -> np.ndarray:
    """The rank of RMI inside the decile of PPL(Q), in [0, 1] (QAQ, section 3)."""
    return scaled(*ranks_within(rmi, strata(log_ppl_q, DECILES)))


class Auc(NamedTuple):
    """Area under the ROC curve, and its 95% interval."""

    value: float
    low: float
    high: float


def auc(positive: np.ndarray, negative: np.ndarray) -> Auc | None:
    """P(a positive's value > a negative's), ties half; interval on the logit with the variance of DeLong et al. 1988 (Biometrics
    44:837). Where that is 0, as where all pairs are ordered alike: Wilson's, of as many draws as the smaller side has.

    None for fewer than two of either.
    """
    many, few = len(positive), len(negative)
    if min(many, few) < 2:
        return None
    everything = middle_ranks(np.concatenate([positive, negative]))
    above = (everything[:many] - middle_ranks(positive)) / few  # of each positive: negatives below it
    below = 1 - (everything[many:] - middle_ranks(negative)) / many  # of each negative: positives above it
    value, variance = float(above.mean()), above.var(ddof=1) / many + below.var(ddof=1) / few
    if variance < 1e-12:
        return Auc(value, *wilson(value * min(many, few), min(many, few)))
    half = Z95 * np.sqrt(variance) / (value * (1 - value))
    logit = np.log(value / (1 - value))
    return Auc(value, *(float(1 / (1 + np.exp(-(logit + side * half)))) for side in (-1, 1)))


def holm(p: Sequence[float]) -> list[float]:
    """p of several tests, each as it stands when all are asked together (Holm 1979)."""
    order, adjusted, worst = np.argsort(p), [0.0] * len(p), 0.0
    for place, k in enumerate(order):
        worst = max(worst, min(1.0, (len(p) - place) * p[k]))
        adjusted[k] = worst
    return adjusted


def number(value: float, digits: int = 3) -> str:
    """With a minus sign, not a hyphen."""
    return f"{value:.{digits}f}".replace("-", "−")


def interval(found: Spearman | Auc | Estimate, digits: int = 3) -> str:
    """`value [low, high]`; the value alone where nothing bounds it."""
    value = number(found.value, digits)
    return value if found.low is None else f"{value} [{number(found.low, digits)}, {number(found.high, digits)}]"


def counted(count: float, of: int, digits: int = 1) -> str:
    """`share [low, high]` in percent, Wilson's interval."""
    return "{} [{}, {}]".format(*(f"{share:.{digits}%}" for share in (count / of, *wilson(count, of))))


def overlap(a: Set[str], b: Set[str]) -> str:
    """Jaccard, then `shared` with Wilson's interval."""
    return f"{jaccard(a, b):.1%}; {counted(len(a & b), min(len(a), len(b)))}"


def jaccard(a: Set[str], b: Set[str]) -> float:
    """Pairs in both over pairs in either."""
    return len(a & b) / len(a | b)


def shared(a: Set[str], b: Set[str]) -> float:
    """Pairs in both over the smaller selection (the overlap coefficient)."""
    return len(a & b) / min(len(a), len(b))


class Limits(NamedTuple):
    """Ends of an axis and how many values lie beyond them."""

    low: float
    high: float
    outside: int


def limits(values: np.ndarray) -> Limits:
    """All values where they fit; else as far beyond the 5th and 95th percentile as these lie from each other; and 4% of room.

    A few far values may not press all others into a corner.
    """
    inner_low, inner_high = np.percentile(values, [5, 95])
    span = max(inner_high - inner_low, 1e-9)
    low, high = max(values.min(), inner_low - span), min(values.max(), inner_high + span)
    pad = 0.04 * max(high - low, 1e-9)
    outside = int(((values < low - pad) | (values > high + pad)).sum())
    return Limits(float(low - pad), float(high + pad), outside)
