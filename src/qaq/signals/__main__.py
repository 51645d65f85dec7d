"""Worker: `python -m qaq.signals REQUEST` adds shards of one signal for the pairs that nobody has done yet.

Any number of workers may share a folder, on one machine or on many that share a disk (`qaq.shards`).
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qaq import launch, signals
from qaq.progress import Progress
from qaq.shards import Shards, cut
from qaq.store import room

log = logging.getLogger(__name__)
_BATCHES = 4  # of replies, between two commits
_TEXT = pa.string()
_COLUMNS = pa.schema([("id", _TEXT), ("query", _TEXT), ("answer", _TEXT), ("queries", pa.list_(_TEXT))])
_LARGE = {"queries": pa.large_list(pa.large_string())}


def observe(request: dict[str, Any]) -> None:
    """`request`: signal, pairs (Parquet file of id, query, answer, queries), shards (directory), characters_per_shard, and what
    the signal itself asks for (model, settings, device, ...).

    The model is loaded only if something is missing.
    """
    signal = signals.module(request["signal"])
    with room(Path(request["shards"]), f"the {signal.WHAT}"):
        shards, pairs = Shards(Path(request["shards"]), signal.SCHEMA, signal.WHAT), _pairs(Path(request["pairs"]))
        ids = pairs["id"].to_numpy(zero_copy_only=False).astype(str)
        missing = shards.missing(ids)
        if not len(missing):
            return
        log.info("%s: %d pairs, %d held", request["signal"], len(missing), len(ids) - len(missing))
        made = signal.load(request)

        def compute(rows: np.ndarray) -> pa.Table:
            found = made(_taken(pairs, rows))
            progress.add(len(rows))
            return found

        with Progress(request["signal"], len(missing), "pairs") as progress:
            shards.take(
                ids, list(_cut(pairs, ids, missing, request))[::-1], compute
            )  # longest first: what does not fit fails at once


def _pairs(file: Path) -> pa.Table:
    """id, query, answer and, where the file knows its turns, queries; each in one piece with 64-bit offsets: `take` would put
    pieces together anew at every call (0.1 s for 200 MB), and 2 GB of text do not fit 32-bit ones."""
    there = pq.read_schema(file).names
    pairs = pq.read_table(file, columns=[name for name in _COLUMNS.names if name in there])
    large = [pa.field(name, _LARGE.get(name, pa.large_string())) for name in pairs.column_names]
    return pairs.cast(pa.schema(large)).combine_chunks()


def _taken(pairs: pa.Table, rows: np.ndarray) -> pa.Table:
    """Those rows as the signals know them; the query alone where the file does not know its turns."""
    some = pairs.take(rows)
    if "queries" not in some.column_names:
        some = some.append_column("queries", pa.array([[query] for query in some["query"].to_pylist()]))
    return some.cast(_COLUMNS)


def _cut(pairs: pa.Table, ids: np.ndarray, missing: np.ndarray, request: dict[str, Any]) -> Iterable[np.ndarray]:
    """Shards of pairs of similar length: a few batches each where replies are written, which takes long; else by their characters."""
    length = pc.add(pc.utf8_length(pairs["query"]), pc.utf8_length(pairs["answer"])).to_numpy()
    if batch := request["settings"].get("batch_size"):
        order = np.lexsort((ids, length))  # of all pairs: the batches are the same after a kill
        size = _BATCHES * batch  # many pairs are not asked about, and would leave small batches
        return [order[start : start + size] for start in range(0, len(order), size)]
    return cut(ids, length, missing, request["characters_per_shard"])


if __name__ == "__main__":
    observe(launch.request())
