"""Finished records kept in files that a kill, a torn disk or a second process cannot spoil.

A folder holds what was made under one reading or asking (model, template, dtype, ...); another setting is another folder. A
shard is a handful of records, written beside and renamed, its name the digest of its ids and of its bytes. What is there is
read back only if the bytes still match; what does not match is set aside and done again.

Who shares the work says which records go together (a list of shards); where the same ones come out after a kill, or beside
another process, so do the same bytes.
"""

import hashlib
import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from filelock import Timeout

from qaq.store import lock, room

log = logging.getLogger(__name__)


class Shards:
    """The shards under `folder`: tables of `schema`, whose first column is the record's id. `what`: the records in a word."""

    def __init__(self, folder: Path, schema: pa.Schema, what: str) -> None:
        self.folder, self.schema, self.what = folder, schema, what
        self.looked: set[str] = set()  # sound files `_open` has read
        self.held: set[str] = set()  # ids in them
        folder.mkdir(parents=True, exist_ok=True)

    def read(self) -> pa.Table:
        """Every sound record once; a file whose bytes do not match its name is set aside with a message.

        Two runs whose records overlap may both have made some at the same moment: the first file's count.
        """
        tables = [table for file in sorted(self.folder.glob("*.parquet")) if (table := self._sound(file)) is not None]
        table = pa.concat_tables([self.schema.empty_table(), *tables])
        return table.take(pc.index_in(pc.unique(table["id"]), table["id"]))  # where each id stands first

    def of(self, ids: pa.Array, what: str | None = None) -> pa.Table:
        """The records of `ids`, in their order. OSError, with the number (of `what`) and the way on, if one is missing."""
        held = self.read()
        places = pc.index_in(ids, held["id"].combine_chunks())
        if places.null_count:
            raise OSError(f"{self.folder} holds {len(ids) - places.null_count} of {len(ids)} {what or self.what}: a worker ended early, or this "
                          "machine does not see its last files yet; run the same command again to go on")  # fmt: skip
        return held.take(places)

    def missing(self, ids: Iterable[str]) -> np.ndarray:
        """Positions of the `ids` that no sound shard holds."""
        return np.flatnonzero(self._open(ids))

    def take(self, ids: np.ndarray, shards: Sequence[np.ndarray], compute: Callable[[np.ndarray], pa.Table]) -> None:
        """Compute the rows of `ids` that no shard holds yet, one of `shards` (rows each) after the other.

        `compute(rows)` gives the table of those rows. A shard another process works on is left to it, and looked at again at
        the end: it may have died.
        """
        busy = [rows for rows in shards if not self._try(ids, rows, compute, wait=False)]
        for rows in busy:
            self._try(ids, rows, compute, wait=True)

    def _try(self, ids: np.ndarray, rows: np.ndarray, compute: Callable[[np.ndarray], pa.Table], wait: bool) -> bool:
        held = lock(self.folder / f".{_digest_of(ids[rows])}.lock")
        try:
            with held.acquire(timeout=-1 if wait else 0):
                rows = rows[self._open(ids[rows])]
                if len(rows):
                    self._write(_digest_of(ids[rows]), compute(rows))
        except Timeout:
            return False
        Path(held.lock_file).unlink(missing_ok=True)
        return True

    def _open(self, ids: Iterable[str]) -> np.ndarray:
        """Mask of the `ids` nobody has made by now; only files that came since the last look are read."""
        for name in os.listdir(self.folder):  # asked once a shard, so not by glob, which takes ten times as long
            if name.endswith(".parquet") and name not in self.looked:
                table = self._sound(self.folder / name)
                if table is not None:  # a damaged one comes back under the same name when it is made again
                    self.looked.add(name)
                    self.held.update(table["id"].to_pylist())
        return np.array([id not in self.held for id in ids])

    def _write(self, name: str, table: pa.Table) -> None:
        buffer = io.BytesIO()
        pq.write_table(table.cast(self.schema), buffer)
        data = buffer.getvalue()
        scratch = self.folder / f".{name}.tmp"
        try:
            with room(self.folder, f"{len(data):,} bytes of finished {self.what}"), scratch.open("wb") as file:
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
                return pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)  # 7 times as fast as read_table
            file.rename(file.with_suffix(".damaged"))
        except FileNotFoundError:  # another process looked at the same moment and has set it aside
            return None
        log.warning("%s does not hold what was written there: set aside, its %s are made again", file, self.what)
        return None


def cut(ids: np.ndarray, length: np.ndarray, rows: np.ndarray, budget: int) -> Iterator[np.ndarray]:
    """`rows` by (length, id), cut where the next record would pass the budget; short ones first."""
    order = rows[np.lexsort((ids[rows], length[rows]))]
    shard: list[int] = []
    total = 0
    for row in order:
        if shard and total + int(length[row]) > budget:
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
