"""Shards -> LIKELIHOOD. Loads no torch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from qaq.score.shards import Shards
from qaq.score.spans import TARGETS
from qaq.tables import LIKELIHOOD, conform


def left(shards: Path, passes: list[str], ids: list[str]) -> Callable[[], int]:
    """Counts, at each call, the records of all passes that are not scored yet; only shards new since the last are read."""
    watched = [Shards(shards / name) for name in passes]
    return lambda: sum(len(held.missing(ids)) for held in watched)


def likelihood(shards: Path, passes: list[str], ids: list[str], model: str) -> pa.Table:
    """LIKELIHOOD of `ids`, sorted by pass and id. OSError, with the number and the way on, if one is missing."""
    wanted = pa.array(sorted(ids), pa.string())
    return pa.concat_tables([_of_pass(shards / name, name, wanted, model) for name in passes])


def _of_pass(folder: Path, name: str, wanted: pa.Array, model: str) -> pa.Table:
    held = Shards(folder).of(wanted, f"records of pass {name}")
    targets = TARGETS[name]
    sums = held["nll_sum"].combine_chunks().flatten().to_numpy().reshape(-1, len(targets))
    tokens = held["tokens"].combine_chunks().flatten().to_numpy().reshape(-1, len(targets))
    return pa.concat_tables(
        [_rows(wanted, model, target, sums[:, i], tokens[:, i]) for i, target in enumerate(targets)]
    )


def _rows(ids: pa.Array, model: str, target: tuple[str, str], sums: np.ndarray, tokens: np.ndarray) -> pa.Table:
    over = np.isnan(sums) | (tokens == 0)  # did not fit the window, or holds nothing to score
    return conform({"id": ids, "model": pa.array([model] * len(ids)), "target": pa.array([target[0]] * len(ids)),
                    "given": pa.array([target[1]] * len(ids)), "nll_sum": pa.array(sums, mask=over), "tokens": tokens,
                    "truncated": over}, LIKELIHOOD)  # fmt: skip
