"""How sure a benchmark's number is, and whether two models differ: arithmetic on arrays, no files, no tables.

The task is the unit: a benchmark's tasks stand for all tasks like them, and asking one task several times, or training
with several seeds, makes no new task. Arrays are `x_ST`: S training seeds (1 without any) by T tasks, each cell the mean
over one task's samples. The variance of a mean is that over tasks plus, from two seeds on, that over seeds: two-way
clusters (Cameron, Gelbach and Miller 2011, doi 10.1198/jbes.2010.07136), of which we do not take off the part that both
hold: a little too wide rather than too narrow, and never below zero. Degrees of freedom: Satterthwaite 1946.
"""

import math
from typing import NamedTuple

import numpy as np

Z95 = 1.959963984540054  # the 97.5% point of the standard normal distribution


class Estimate(NamedTuple):
    """A value and its 95% interval; the bounds are null where one task alone gives none."""

    value: float
    low: float | None
    high: float | None


class Spread(NamedTuple):
    """Variance of a mean, and the 97.5% point that goes with it."""

    variance: float
    point: float


def wilson(passed: float, tasks: float, point: float = Z95) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927): inside [0, 1], sensible at 0. ValueError without a task.

    Both counts may be effective ones.
    """
    if not tasks:
        raise ValueError("a share of no task is undefined: the verdicts are empty")
    value, z2 = passed / tasks, point**2
    middle = (value + z2 / (2 * tasks)) / (1 + z2 / tasks)
    half = point * math.sqrt(value * (1 - value) / tasks + z2 / (4 * tasks**2)) / (1 + z2 / tasks)
    return max(0.0, min(middle - half, value)), min(1.0, max(middle + half, value))  # at 0 and 1 rounding may cross


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """The chance that one of k samples passes, where `passed` of `samples` did: unbiased (Chen et al. 2021, eq. 1)."""
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs {k} samples of each task; there are {samples}")
    return 1 - math.comb(samples - passed, k) / math.comb(samples, k)


def share(x_ST: np.ndarray, draws: int) -> Estimate:
    """The mean of shares, and Wilson's interval for the number of tasks that its variance is worth.

    That effective number is of Korn and Graubard 1998. One seed and one sample a task give Wilson's interval itself. `draws`,
    the independent draws in all (T, S and the samples of a task multiplied), is the most it may be. Where all is 0, or
    all is 1, the variance says nothing and the tasks count.
    """
    tasks, value = _tasks(x_ST), float(x_ST.mean())
    if value in (0.0, 1.0):
        return Estimate(value, *wilson(value * tasks, tasks))
    variance, point = _share_spread(x_ST)
    size = min(value * (1 - value) / variance, draws) if variance else draws
    return Estimate(value, *wilson(value * size, size, point))


def share_difference(a_ST: np.ndarray, b_ST: np.ndarray, draws: int) -> Estimate:
    """Mean of `a_ST` less that of `b_ST`, shares of the same tasks in the same order.

    Newcombe 1998 (Statistics in Medicine 17:2635), method 10, to the letter for one seed and one sample each: the two
    intervals joined, less what their correlation over tasks explains. For the rest the same with the intervals of
    `share`, as Zou and Donner 2008 have it. `draws` as there, of the model that has more.
    """
    (a, a_low, a_high), (b, b_low, b_high) = share(a_ST, draws), share(b_ST, draws)
    tasks = _tasks(a_ST)
    common = float(np.mean((a_ST.mean(0) - a) * (b_ST.mean(0) - b)))
    if common > 0:
        common = max(common - 1 / (2 * draws), 0.0)  # Newcombe's correction: half a verdict
    scale = tasks * math.sqrt(_share_spread(a_ST).variance * _share_spread(b_ST).variance)
    correlation = common / scale if scale else 0.0
    low = _joined(a - a_low, b_high - b, correlation)
    high = _joined(a_high - a, b - b_low, correlation)
    return Estimate(a - b, a - b - low, a - b + high)


def sign_flip(differences: np.ndarray) -> float:
    """Exact two-sided p of whole-number differences of paired tasks, were either sign of each as likely (Fisher 1935).

    For one verdict each, differences of -1, 0 and 1, it is McNemar's exact test. Every sum's chance is counted, none drawn.
    """
    sizes = np.abs(differences[differences != 0]).astype(int)
    if not len(sizes):
        return 1.0
    chances = np.ones(1)  # of what the tasks with a plus sum up to
    for size in sizes // np.gcd.reduce(sizes):
        nothing = np.zeros(size)
        chances = (np.concatenate([chances, nothing]) + np.concatenate([nothing, chances])) / 2
    reach = len(chances) - 1
    sums = np.abs(2 * np.arange(reach + 1) - reach)
    return min(1.0, float(chances[sums >= abs(differences.sum()) // np.gcd.reduce(sizes)].sum()))


def mean(x_ST: np.ndarray) -> Estimate:
    """The mean of any numbers, with Student's interval."""
    return difference(x_ST, np.zeros((1, _tasks(x_ST))))[0]


def difference(a_ST: np.ndarray, b_ST: np.ndarray) -> tuple[Estimate, float | None]:
    """Mean of `a_ST` less that of `b_ST`, the same tasks in the same order: paired Student's interval and two-sided p."""
    return contrast((1, a_ST), (-1, b_ST))


def contrast(*terms: tuple[int, np.ndarray]) -> tuple[Estimate, float | None]:
    """The means of several x_ST, each with its sign (1 or -1), added up; tasks, interval and p as in `difference`."""
    value = float(sum(sign * x_ST.mean() for sign, x_ST in terms))
    if _tasks(terms[0][1]) < 2:
        return Estimate(value, None, None), None
    of_tasks_T = sum(sign * x_ST.mean(0) for sign, x_ST in terms)
    over = [_over(of_tasks_T), *(_over(x_ST.mean(1)) for _, x_ST in terms if len(x_ST) > 1)]
    variance, freedom = _together(over)
    half = student(freedom) * math.sqrt(variance)
    p = 1 - _within(abs(value) / math.sqrt(variance), freedom) if variance else float(value == 0)
    return Estimate(value, value - half, value + half), max(p, 0.0)


def per_token(sums_ST: np.ndarray, tokens_T: np.ndarray) -> np.ndarray:
    """x_ST whose mean is sum over sum, and whose variance is that of this ratio (linearised: Cochran 1977, 6.3)."""
    ratio_S1 = sums_ST.sum(1, keepdims=True) / tokens_T.sum()
    return ratio_S1 + (sums_ST - ratio_S1 * tokens_T) / tokens_T.mean()


def student(freedom: int) -> float:
    """The 97.5% point of Student's distribution."""
    low, high = 0.0, 16.0  # with one degree of freedom it is 12.7
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < 0.95 else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """P(|T| <= t) of Student's distribution: the finite sums of Abramowitz and Stegun 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    odd, term, total = freedom % 2, math.cos(angle) if freedom % 2 else 1.0, 0.0
    for n in range(2 + odd, freedom + 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (n - 1) / n
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def _share_spread(x_ST: np.ndarray) -> Spread:
    """One seed: the plug-in variance and the normal point, as in Wilson's interval. Several: tasks and seeds."""
    if len(x_ST) == 1 or _tasks(x_ST) == 1:
        return Spread(float(x_ST.mean(0).var()) / _tasks(x_ST), Z95)
    variance, freedom = _together([_over(x_ST.mean(0)), _over(x_ST.mean(1))])
    return Spread(variance, student(freedom))


def _over(means: np.ndarray) -> tuple[float, int]:
    """(variance of the mean of independent draws, its degrees of freedom)."""
    return float(means.var(ddof=1)) / len(means), len(means) - 1


def _together(parts: list[tuple[float, int]]) -> tuple[float, int]:
    """(sum of variances, Satterthwaite's degrees of freedom, rounded down)."""
    total = sum(variance for variance, _ in parts)
    below = sum(variance**2 / freedom for variance, freedom in parts)
    return total, int(total**2 / below * (1 + 1e-12)) if below else parts[0][1]


def _joined(a: float, b: float, correlation: float) -> float:
    return math.sqrt(max(a**2 - 2 * correlation * a * b + b**2, 0.0))


def _tasks(x_ST: np.ndarray) -> int:
    if not x_ST.size:
        raise ValueError("a share of no task is undefined: the verdicts are empty")
    return x_ST.shape[1]
