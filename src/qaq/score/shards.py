"""Likelihoods kept record by record, in files that a kill, a torn disk or a second process cannot spoil.

A folder holds the likelihoods of one pass under one reading (model, template, protocol, dtype); another setting is another
folder. A shard is a few thousand tokens' worth of records, written beside and renamed, its name the digest of its ids and
of its bytes. What is there is read back only if the bytes still match; what does not match is set aside and done again.

The records still missing are sorted by (length, id) and cut greedily. Taking finished shards out of that list does not move
the other cuts, so after a kill, or beside another process, the same shards come out, hence the same bytes.
"""

import hashlib
import io
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from qaq.store import room

log = logging.getLogger(__name__)

# A row: id, then for each target of the pass its summed NLL (nats; NaN where the text did not fit the window) and tokens.
SCHEMA = pa.schema([("id", pa.string()), ("nll_sum", pa.list_(pa.float64())), ("tokens", pa.list_(pa.int32()))])


class Shards:
    """The shards under `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.looked: set[str] = set()  # files `_open` has read
        self.held: set[str] = set()  # ids in them
        folder.mkdir(parents=True, exist_ok=True)

    def read(self) -> pa.Table:
        """Every sound record once; a file whose bytes do not match its name is set aside with a message.

        Two runs whose records overlap may both have scored some at the same moment: the first file's count.
        """
        tables = [table for file in sorted(self.folder.glob("*.parquet")) if (table := self._sound(file)) is not None]
        table = pa.concat_tables([SCHEMA.empty_table(), *tables])
        _, first = np.unique(table["id"].to_numpy(zero_copy_only=False).astype(str), return_index=True)
        return table.take(pa.array(np.sort(first)))

    def missing(self, ids: np.ndarray) -> np.ndarray:
        """Positions of the `ids` that no sound shard holds."""
        return np.flatnonzero(self._open(ids))

    def fill(self, ids: np.ndarray, length: np.ndarray, missing: np.ndarray, tokens_per_shard: int,
             compute: Callable[[np.ndarray], pa.Table]) -> None:  # fmt: skip
        """Compute the `missing` rows of `ids`, shard by shard, longest texts first.

        `compute(rows)` gives the SCHEMA table of those rows. A shard another process works on is left to it, and
        looked at again at the end: it may have died.
        """
        shards = list(cut(ids, length, missing, tokens_per_shard))[::-1]
        busy = [rows for rows in shards if not self._try(ids, rows, compute, wait=False)]
        for rows in busy:
            self._try(ids, rows, compute, wait=True)

    def _try(self, ids: np.ndarray, rows: np.ndarray, compute: Callable[[np.ndarray], pa.Table], wait: bool) -> bool:
        lock = FileLock(self.folder / f".{_digest_of(ids[rows])}.lock")
        try:
            with lock.acquire(timeout=-1 if wait else 0):
                rows = rows[self._open(ids[rows])]
                if len(rows):
                    self._write(_digest_of(ids[rows]), compute(rows))
        except Timeout:
            return False
        Path(lock.lock_file).unlink(missing_ok=True)
        return True

    def _open(self, ids: np.ndarray) -> np.ndarray:
        """Mask of the `ids` nobody has scored by now; only files that came since the last look are read."""
        for file in self.folder.glob("*.parquet"):
            if file.name not in self.looked and (table := self._sound(file)) is not None:
                self.looked.add(file.name)
                self.held.update(table["id"].to_pylist())
        return np.array([id not in self.held for id in ids])

    def _write(self, name: str, table: pa.Table) -> None:
        buffer = io.BytesIO()
        pq.write_table(table.cast(SCHEMA), buffer)
        data = buffer.getvalue()
        scratch = self.folder / f".{name}.tmp"
        try:
            with room(self.folder, f"{len(data):,} bytes of finished scores"), scratch.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            scratch.rename(self.folder / f"{name}-{_digest(data)}.parquet")
        finally:
            scratch.unlink(missing_ok=True)

    def _sound(self, file: Path) -> pa.Table | None:
        try:
            data = file.read_bytes()
            if file.stem.endswith("-" + _digest(data)):
                return pq.read_table(io.BytesIO(data))
            file.rename(file.with_suffix(".damaged"))
        except FileNotFoundError:  # another process looked at the same moment and has set it aside
            return None
        log.warning("%s does not hold what was written there: set aside, its records are scored again", file)
        return None


def cut(ids: np.ndarray, length: np.ndarray, rows: np.ndarray, tokens_per_shard: int) -> Iterator[np.ndarray]:
    """`rows` by (length, id), cut where the next text would pass the budget; short texts first."""
    order = rows[np.lexsort((ids[rows], length[rows]))]
    shard: list[int] = []
    total = 0
    for row in order:
        if shard and total + int(length[row]) > tokens_per_shard:
            yield np.array(shard)
            shard, total = [], 0
        shard.append(int(row))
        total += int(length[row])
    if shard:
        yield np.array(shard)


def _digest_of(ids: np.ndarray) -> str:
    return _digest("\n".join(ids).encode())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]
