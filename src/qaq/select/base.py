"""What every selector shares: the columns it reads, scaled ranks, deciles, bands, and the SUBSET they end in."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qaq.tables import METRICS, SIGNALS, SUBSET, conform

Array = np.ndarray


@dataclass(frozen=True)
class Choice:
    """Which rows of the id-sorted METRICS are kept, the value that ranks each row (higher first), and its stratum."""

    rows: Array
    priority: Array
    stratum: Array | None = None


def held(metrics: pa.Table, name: str) -> pa.ChunkedArray:
    """A column as it is. ValueError that names the signal it belongs to if there is none."""
    if name not in metrics.column_names:
        signal = next((signal for signal, columns in SIGNALS.items() if name in columns), None)
        raise ValueError(
            f"{name} is not among the metrics" + (f": the signal {signal!r} was not made" if signal else "")
        )
    return metrics[name]


def column(metrics: pa.Table, name: str) -> Array:
    """A metric as float64 [N]. ValueError if a value is missing or not finite, naming how many and one id."""
    values = held(metrics, name).to_numpy().astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        first = metrics["id"][int(bad[0])].as_py()
        cause = "it needs two scorers, or" if name.startswith("weak_") else "perhaps"
        scorers = f"; {cause} a pass that scorer.passes leaves out" if name in METRICS.columns.names else ""
        raise ValueError(
            f"{name} is missing or not finite for {len(bad)} of {len(values)} pairs (first: {first}){scorers}"
        )
    return values


def matrix(metrics: pa.Table, name: str) -> Array:
    """A column of lists as float32 [N, D], not copied where it is one chunk. ValueError for a list that is missing or of another
    length than the first, and for values that are not finite."""
    lists = held(metrics, name)
    lengths = pc.fill_null(pc.list_value_length(lists), -1).to_numpy()
    odd = np.flatnonzero((lengths != lengths[0]) | (lengths < 1))
    if len(odd):
        raise ValueError(f"{name} of pair {metrics['id'][int(odd[0])].as_py()} holds {max(lengths[odd[0]], 0)} numbers, that of the first "
                         f"pair {max(lengths[0], 0)}: all need as many")  # fmt: skip
    parts = [
        chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, lengths[0]) for chunk in lists.chunks if len(chunk)
    ]
    rows = (parts[0] if len(parts) == 1 else np.concatenate(parts)).astype(np.float32, copy=False)
    if not np.isfinite(rows.sum(dtype=np.float64)):  # a mask of the whole matrix would be a quarter of its size
        bad = next(row for row, values in enumerate(rows) if not np.isfinite(values).all())
        raise ValueError(f"{name} of pair {metrics['id'][bad].as_py()} holds a value that is not finite")
    return rows


def ranks(values: Array) -> Array:
    """Position of each row in ascending order, 0..N-1; ties by row, that is, by id."""
    order = np.argsort(values, kind="stable")
    position = np.empty(len(values), dtype=np.int64)
    position[order] = np.arange(len(values))
    return position


def middle_ranks(values: Array) -> Array:
    """1-based ranks; equal values share the middle of theirs."""
    _, inverse, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(sizes) - (sizes - 1) / 2)[inverse]


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
