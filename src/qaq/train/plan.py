"""Which rows each update learns from: the whole order of a training run, before it starts.

The order follows from the seed alone. How many ranks read it and how many rows a pass takes changes where a row is
read, not the update it belongs to, so a run can go on with other ranks after an interruption.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Split:
    """An update in passes: each of `ranks` reads `micro` rows a pass, `passes` times.

    `slots`, their product, is at least the batch; the slots beyond it stay empty.
    """

    micro: int
    passes: int
    ranks: int

    @property
    def slots(self) -> int:
        """Places for rows in an update."""
        return self.micro * self.passes * self.ranks


def split(batch_size: int, micro_batch_size: int, ranks: int = 1) -> Split:
    """`batch_size` rows over `ranks`, at most `micro_batch_size` a pass, in as few passes and empty slots as that allows.

    ValueError if a rank would never see a row.
    """
    if ranks > batch_size:
        raise ValueError(f"train.batch_size={batch_size} over {ranks} ranks leaves {ranks - batch_size} of them without a "
                         f"row: start at most {batch_size} ranks (launch.nodes x launch.ranks), or set train.batch_size to "
                         f"{ranks} or more, which is another recipe")  # fmt: skip
    share = math.ceil(batch_size / ranks)
    passes = math.ceil(share / micro_batch_size)
    return Split(math.ceil(share / passes), passes, ranks)


def updates(rows: int, batch_size: int, epochs: float) -> int:
    """Updates in `epochs`; an epoch's last one takes the rows there are."""
    return math.ceil(round(epochs * math.ceil(rows / batch_size), 6))


def order(rows: int, batch_size: int, count: int, seed: int) -> np.ndarray:
    """Row numbers of `count` updates: int32 [count, batch_size]; -1 where an epoch's last update has no row."""
    per_epoch = math.ceil(rows / batch_size)
    epochs = []
    for epoch in range(math.ceil(count / per_epoch)):
        places = np.full(per_epoch * batch_size, -1, np.int32)
        places[:rows] = np.random.default_rng([seed, epoch]).permutation(rows)
        epochs.append(places.reshape(per_epoch, batch_size))
    return np.concatenate(epochs)[:count]


def seats(order: np.ndarray, split: Split, lengths: np.ndarray) -> np.ndarray:
    """The order in the sequence a loader deals it out: pass by pass, rank by rank; int32 [updates x slots], -1 is empty.

    The rows of an update go by their `lengths` [rows], the longest first: a pass pads to its longest row, and an update is one sum
    whoever stands beside whom. Within a pass every rank gets a row before one gets its second, so that empty slots leave none
    idle.
    """
    sizes = np.where(order < 0, -1, np.asarray(lengths)[order])
    order = np.take_along_axis(order, np.argsort(-sizes, axis=1, kind="stable"), axis=1)
    spare = np.full((len(order), split.slots - order.shape[1]), -1, np.int32)
    rows = np.concatenate([order, spare], axis=1).reshape(len(order), split.passes, split.micro, split.ranks)
    return rows.swapaxes(2, 3).reshape(-1)


def padded(seats: np.ndarray, micro: int, lengths: np.ndarray) -> np.ndarray:
    """Tokens each pass of `micro` seats reads, every row of it padded to its longest; [passes]. An empty seat reads none."""
    sizes = np.where(seats < 0, 0, np.asarray(lengths)[seats]).reshape(-1, micro)
    return np.count_nonzero(sizes, axis=1) * sizes.max(axis=1)


def digest(order: np.ndarray, ids: list[str]) -> str:
    """sha256 of the order in terms of the rows' ids."""
    found = hashlib.sha256("\n".join(ids).encode())
    found.update(order.tobytes())
    return found.hexdigest()
