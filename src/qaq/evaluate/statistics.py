"""pass@1 and how sure it is: the Wilson score interval (Wilson 1927), inside [0, 1] and sensible at 0."""

import math
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

Z95 = 1.959963984540054  # the 97.5% point of the standard normal distribution


class PassRate(NamedTuple):
    """`value` = passed / tasks, with its 95% interval [low, high]; fractions."""

    value: float
    low: float
    high: float
    passed: int
    tasks: int


def wilson(passed: int, tasks: int) -> tuple[float, float]:
    """The 95% interval of a share. ValueError without a task."""
    if tasks < 1:
        raise ValueError("pass@1 of no task is undefined: the verdicts are empty")
    share, z2 = passed / tasks, Z95**2
    middle = (share + z2 / (2 * tasks)) / (1 + z2 / tasks)
    half = Z95 * math.sqrt(share * (1 - share) / tasks + z2 / (4 * tasks**2)) / (1 + z2 / tasks)
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))  # at 0 and 1 rounding may cross


def pass_at_1(verdicts: pa.Table) -> PassRate:
    """pass@1 of VERDICTS with one sample for each task."""
    if pc.count_distinct(verdicts["task_id"]).as_py() != verdicts.num_rows:
        raise ValueError("pass_at_1 takes one sample for each task; these verdicts hold several")
    passed = pc.sum(verdicts["base_passed"]).as_py() or 0
    low, high = wilson(passed, verdicts.num_rows)
    return PassRate(passed / verdicts.num_rows, low, high, passed, verdicts.num_rows)
