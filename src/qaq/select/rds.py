"""RDS+ (Ivison et al. 2025, arXiv 2503.01807): round-robin over the items of a query set, each taking its best remaining pair.

Letters: N pairs, T items of the query set, L pairs of a shortlist.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from qaq.select.base import Choice, matrix

Array = np.ndarray

DEPTH = 4  # times an item's own picks: what its first shortlist holds
ITEMS_AT_ONCE = 32  # whose columns are copied together: 4 x N x 32 bytes


@dataclass
class Settings:
    """No options; the query set and the model are signals.rds."""


def signals(settings: Settings) -> tuple[str, ...]:
    """Similarity to every item of the query set."""
    return ("rds",)


def choose(metrics: pa.Table, settings: Settings, count: int, seed: int) -> Choice:
    """`count` pairs; priority falls from 1 for the first that was taken."""
    picks = round_robin(matrix(metrics, "similarity"), count)
    rows, priority = np.zeros(metrics.num_rows, dtype=bool), np.zeros(metrics.num_rows)
    rows[picks], priority[picks] = True, 1 - np.arange(count) / count
    return Choice(rows, priority)


def round_robin(similarity_NT: Array, count: int) -> Array:
    """Rows in the order in which they are taken, int64 [count]: item 0 its best, item 1 its best of the rest, ..., item 0 again.

    Ties go to the lower row, that is, the lower id. Exact, without sorting the matrix: each item has a shortlist, and when one
    is used up all are drawn again from what remains, twice as long. Memory beside the matrix: 8 x T x L bytes, where L is at
    most 2 x count, and 4 x N x 32.
    """
    pairs, items = similarity_NT.shape
    taken, picks, depth = np.zeros(pairs, dtype=bool), [], DEPTH * -(-count // items)
    lists: list[Array] = []
    while len(picks) < min(count, pairs):
        item = len(picks) % items
        ahead = lists[item] if lists else np.empty(0, dtype=np.int64)
        free = int(np.argmin(taken[ahead])) if len(ahead) else 0
        if not len(ahead) or taken[ahead[free]]:
            lists, depth = _shortlists(similarity_NT[:, :count], taken, depth), 2 * depth
            continue
        picks.append(int(ahead[free]))
        taken[picks[-1]], lists[item] = True, ahead[free + 1 :]
    return np.array(picks, dtype=np.int64)


def _shortlists(similarity_NT: Array, taken: Array, depth: int) -> list[Array]:
    """For each item its `depth` best rows that are not taken, best first, ties by row."""
    rest, lists = np.flatnonzero(~taken), []
    for start in range(0, similarity_NT.shape[1], ITEMS_AT_ONCE):
        some_TN = np.ascontiguousarray(similarity_NT[:, start : start + ITEMS_AT_ONCE].T)
        lists += [rest[_best(values[rest], depth)] for values in some_TN]
    return lists


def _best(values: Array, depth: int) -> Array:
    """Positions of the `depth` highest, highest first, ties by position; all where there are fewer."""
    if depth >= len(values):
        return np.argsort(-values, kind="stable")
    least = np.partition(values, len(values) - depth)[len(values) - depth]
    able = np.flatnonzero(values >= least)
    return able[np.argsort(-values[able], kind="stable")[:depth]]
