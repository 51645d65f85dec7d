"""Likelihoods kept record by record (`qaq.shards`): a folder for each pass, a shard for a few thousand tokens' worth of texts.

The records still missing are sorted by (length, id) and cut greedily. Taking finished shards out of that list does not move
the other cuts, so after a kill, or beside another process, the same shards come out, hence the same bytes.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from qaq import shards
from qaq.shards import cut

# A row: id, then for each target of the pass its summed NLL (nats; NaN where the text did not fit the window) and tokens.
SCHEMA = pa.schema([("id", pa.string()), ("nll_sum", pa.list_(pa.float64())), ("tokens", pa.list_(pa.int32()))])


class Shards(shards.Shards):
    """The shards of one pass under `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, SCHEMA, "scores")

    def fill(self, ids: np.ndarray, length: np.ndarray, missing: np.ndarray, tokens_per_shard: int,
             compute: Callable[[np.ndarray], pa.Table]) -> None:  # fmt: skip
        """Compute the `missing` rows of `ids`, shard by shard, longest texts first."""
        self.take(ids, list(cut(ids, length, missing, tokens_per_shard))[::-1], compute)
