"""EXAMPLES -> the token sequences of each pass, on disk, with the places that are scored.

Tokenised once, in batches, by the fast tokenizer, and streamed: memory does not grow with the number of pairs. Workers
map the file instead of tokenising again.

    <pass>/tokens.bin      uint32, all sequences one after the other
    <pass>/texts.parquet   id, start (of its tokens), length, spans: start and end of each of the pass's TARGETS
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qaq.score.spans import Reader, Text, continuations, reader

_SCHEMA = pa.schema(
    [("id", pa.string()), ("start", pa.int64()), ("length", pa.int32()), ("spans", pa.list_(pa.int32()))]
)
_AT_ONCE = 1024  # pairs tokenised, or openings compared


@dataclass(frozen=True)
class Texts:
    """The sequences of one pass. ids, start, length: [N]; spans: [N, targets, 2]; tokens: mapped from disk."""

    ids: np.ndarray
    start: np.ndarray
    length: np.ndarray
    spans: np.ndarray
    tokens: np.ndarray

    def read(self, row: int) -> np.ndarray:
        """Token ids of one sequence, int64."""
        return self.tokens[self.start[row] : self.start[row] + self.length[row]].astype(np.int64)

    def shared(self, rows: Iterable[int]) -> np.ndarray:
        """The tokens that open every one of `rows` alike, short of the first scored token's predecessor.

        That predecessor has to be read with its row, since it is what predicts the row's first target token.
        """
        rows = np.asarray(list(rows))
        limit = min(int(self.length[rows].min()) - 1, int(self.spans[rows, :, 0].min())) - 1
        first = self.read(int(rows[0]))[: max(limit, 0)]
        for part in range(0, len(rows), _AT_ONCE):
            starts = self.start[rows[part : part + _AT_ONCE], None]
            same = (self.tokens[starts + np.arange(len(first))] == first).all(axis=0)
            first = first if same.all() else first[: int(same.argmin())]
        return first


def write_texts(examples: Path, tokenizer: Any, settings: dict[str, Any], out: Path) -> None:
    """Fill `out` with a folder for each of settings["passes"]; one pass over the file, a batch at a time."""
    for name in settings["passes"]:
        _write(_sequences(examples, reader(tokenizer, name, settings)), out / name)


def write_continuations(table: Path, tokenizer: Any, out: Path) -> None:
    """The same for rendered texts: a table of id, context, target."""
    columns = pq.read_table(table)
    texts = continuations(tokenizer, *(columns[name].to_pylist() for name in ("id", "context", "target")))
    _write(iter([texts]), out / "continuation")


def open_texts(folder: Path) -> Texts:
    """What was written for one pass."""
    table = pq.read_table(folder / "texts.parquet")
    spans = table["spans"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1, 2)
    tokens = np.memmap(folder / "tokens.bin", np.uint32, "r") if table.num_rows else np.zeros(0, np.uint32)
    ids = table["id"].to_numpy(zero_copy_only=False).astype(str)
    return Texts(ids, table["start"].to_numpy(), table["length"].to_numpy(), spans, tokens)


def _sequences(examples: Path, read: Reader) -> Iterator[list[Text]]:
    for batch in pq.ParquetFile(examples).iter_batches(_AT_ONCE, columns=["id", "query", "answer"]):
        yield read(*(batch[name].to_pylist() for name in ("id", "query", "answer")))


def _write(batches: Iterator[list[Text]], folder: Path) -> None:
    start = 0
    folder.mkdir()
    with (folder / "tokens.bin").open("wb") as tokens, pq.ParquetWriter(folder / "texts.parquet", _SCHEMA) as rows:
        for batch in batches:
            lengths = [len(text.tokens) for text in batch]
            starts = start + np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
            spans = [[edge for span in text.spans for edge in span] for text in batch]
            rows.write_table(pa.table([[t.id for t in batch], starts, lengths, spans], schema=_SCHEMA))
            for text in batch:  # not tofile: on a full disk it loses what it was given without a word
                tokens.write(np.asarray(text.tokens, np.uint32).tobytes())
            start += sum(lengths)
