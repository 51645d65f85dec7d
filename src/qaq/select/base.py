"""What every selector shares: scaled ranks, deciles, bands, and the SUBSET they end in."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from qaq.tables import SUBSET, conform

Array = np.ndarray


@dataclass(frozen=True)
class Choice:
    """Which rows of the id-sorted METRICS are kept, the value that ranks each row (higher first), and its stratum."""

    rows: Array
    priority: Array
    stratum: Array | None = None


def column(metrics: pa.Table, name: str) -> Array:
    """A metric as float64 [N]. ValueError if a value is missing or not finite, naming how many and one id."""
    values = metrics[name].to_numpy().astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        first = metrics["id"][int(bad[0])].as_py()
        cause = "it needs two scorers, or" if name.startswith("weak_") else "perhaps"
        raise ValueError(f"{name} is missing or not finite for {len(bad)} of {len(values)} pairs (first: {first}); "
                         f"{cause} a pass that scorer.passes leaves out")  # fmt: skip
    return values


def ranks(values: Array) -> Array:
    """Position of each row in ascending order, 0..N-1; ties by row, that is, by id."""
    order = np.argsort(values, kind="stable")
    position = np.empty(len(values), dtype=np.int64)
    position[order] = np.arange(len(values))
    return position


def scaled(position: Array, size: Array | int) -> Array:
    """Ranks on [0, 1]: the middle of each of `size` equal steps."""
    return (position + 0.5) / size


def strata(values: Array, count: int) -> Array:
    """Quantile bin 0..count-1 of each row by `values`; bin sizes differ by at most one."""
    return ranks(values) * count // len(values)


def ranks_within(values: Array, stratum: Array) -> tuple[Array, Array]:
    """(position inside its stratum, size of its stratum) of each row."""
    order = np.lexsort((values, stratum))  # stable: ties stay in id order
    sizes = np.bincount(stratum)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    position = np.empty(len(values), dtype=np.int64)
    position[order] = np.arange(len(values)) - np.repeat(starts, sizes)
    return position, sizes[stratum]


def apportion(count: int, sizes: Array) -> Array:
    """`count` divided over strata in proportion to `sizes`, exactly (largest remainder, ties to the lower stratum)."""
    exact = count * sizes / sizes.sum()
    shares = np.floor(exact).astype(np.int64)
    rest = np.argsort(-(exact - shares), kind="stable")[: count - shares.sum()]
    shares[rest] += 1
    return shares


def band(position: Array, size: Array | int, low: float, count: Array | int) -> Array:
    """Mask of the `count` positions that start at the share `low`, moved down where they would pass the top."""
    start = np.minimum(np.floor(low * size + 0.5).astype(np.int64), size - count)
    return (position >= start) & (position < start + count)


def check_band(low: float, count: int, pairs: int) -> None:
    """ValueError unless a band of `count` of `pairs` fits above the share `low`."""
    if round(low * pairs) + count > pairs + 1:  # one row of slack for rounding
        raise ValueError(f"a band that starts at low={low} has no room for {count} of {pairs} pairs: lower the budget "
                         f"to at most {1 - low:g} or selector.low to at most {1 - count / pairs:.3g}")  # fmt: skip


def top(priority: Array, count: int) -> Array:
    """Mask of the `count` highest values; ties go to the lower id."""
    mask = np.zeros(len(priority), dtype=bool)
    mask[np.argsort(-priority, kind="stable")[:count]] = True
    return mask


def subset(metrics: pa.Table, choice: Choice) -> pa.Table:
    """SUBSET table, rank 0 for the highest priority, ties by id."""
    kept = np.flatnonzero(choice.rows)
    kept = kept[np.argsort(-choice.priority[kept], kind="stable")]
    stratum = None if choice.stratum is None else pa.array(choice.stratum[kept], pa.int32())
    columns = {"rank": pa.array(np.arange(len(kept))), "id": metrics["id"].take(pa.array(kept)),
               "priority": pa.array(choice.priority[kept])}  # fmt: skip
    return conform({**columns, **({} if stratum is None else {"stratum": stratum})}, SUBSET)
