"""Near-duplicates: pairs whose texts share most of their shingles (Broder 1997), found by MinHash LSH (datasketch).

A text is query and answer, as for exact duplicates: the same question with another answer is no copy. Its shingles are all runs
of five words or signs, in lower case; a shorter text is one shingle. In the source's order a pair stays unless its Jaccard
similarity, of the shingles themselves, with a pair that stayed reaches the threshold; so everything that goes is close to
something that stays, and chains of small changes do not carry off what is far from it. LSH only proposes whom to compare: it
misses one in a hundred of the pairs at the threshold, fewer above it. Writing without spaces counts as one long word. Memory: 6 to
7 KB a pair that stays. Pairs that share a long boilerplate and yet stay are compared with each other, so their time is quadratic.
"""

import math
import re
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from qaq import spool
from qaq.progress import Progress

_LENGTH = 5  # words or signs of a shingle
_PERMUTATIONS = 128  # at most
_MISSED = 0.01  # of the pairs at the threshold
_BATCH = 1024  # rows of EXAMPLES held at a time
_WORDS = re.compile(r"\w+|[^\w\s]")
# Odd numbers, one for each place in a shingle; sums of 64-bit digests times these meet once in 2**64.
_FACTORS = np.random.default_rng(0).integers(0, 2**63, _LENGTH, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


class Near(NamedTuple):
    """A pair that goes, and the pair that stays which it is closest to, the first of several as close."""

    id: str
    row: int
    of_row: int
    jaccard: float
    query: str
    of_query: str


def find(examples: Path, threshold: float) -> Iterator[Near]:
    """The pairs of the EXAMPLES that are near-duplicates of an earlier one, in the file's order."""
    total, columns = pq.read_metadata(examples).num_rows, ["id", "row", "query", "answer"]
    with tempfile.TemporaryFile(dir=examples.parent) as texts, Progress("near-duplicates", total, "pairs") as bar:
        kept = _Kept(threshold, texts)
        for batch in pq.ParquetFile(examples).iter_batches(_BATCH, columns=columns):
            for row in batch.to_pylist():
                own = shingles(f"{row['query']}\n{row['answer']}")
                if near := kept.nearest_or_keep(own, row):
                    yield near
            bar.add(len(batch))


def shingles(text: str) -> np.ndarray:
    """The set of a text's shingles as 64-bit numbers in order; none where it has neither a word nor a sign."""
    words = np.array([_digest(word) for word in _WORDS.findall(text.lower())], np.uint64)
    if len(words) <= _LENGTH:
        return (words * _FACTORS[: len(words)]).sum(keepdims=True)[: len(words)]
    windows = np.lib.stride_tricks.sliding_window_view(words, _LENGTH)
    return np.unique((windows * _FACTORS).sum(axis=1))


@lru_cache(1 << 17)
def _digest(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """Shared / all, of two sets in order."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)


def bands(threshold: float) -> tuple[int, int]:
    """(bands, rows of each): the most rows, so the fewest idle comparisons, with which a pair at the threshold still agrees in one
    whole band, which has the probability 1 - (1 - threshold ** rows) ** bands; at least `_MISSED` short of 1 down to a
    threshold of 0.04."""
    for rows in range(_PERMUTATIONS // 2, 0, -1):
        agree = threshold**rows
        count = max(2, math.ceil(math.log(_MISSED) / math.log1p(-agree))) if agree < 1 else 2
        if count * rows <= _PERMUTATIONS:
            return count, rows
    return _PERMUTATIONS, 1


class _Kept:
    """The pairs that stayed: their MinHashes in memory, their shingles in the file `texts`."""

    def __init__(self, threshold: float, texts: BinaryIO) -> None:
        from datasketch import MinHash, MinHashLSH  # loads scipy, which no other run needs

        self.threshold, self.texts, self.sketch = threshold, texts, MinHash
        count, rows = bands(threshold)
        self.same = {"permutations": MinHash(count * rows).permutations, "scheme": "affine32", "hashfunc": int}
        self.lsh = MinHashLSH(num_perm=count * rows, params=(count, rows))

    def nearest_or_keep(self, own: np.ndarray, row: dict[str, Any]) -> Near | None:
        """The row's nearest pair at or above the threshold; None, and the row is kept, where there is none."""
        if not len(own):
            return None
        sketch = self.sketch(len(self.same["permutations"][0]), **self.same)
        sketch.update_batch((own >> np.uint64(32)).tolist())
        best = (0.0, -1, "")
        for place in sorted(self.lsh.query(sketch)):  # as they were kept
            of_row, of_query, other = spool.get(self.texts, place)
            if (similarity := jaccard(own, other)) > best[0]:
                best = similarity, of_row, of_query
        if best[0] >= self.threshold:
            return Near(row["id"], row["row"], best[1], best[0], row["query"], best[2])
        self.lsh.insert(spool.put(self.texts, (row["row"], row["query"], own)), sketch, check_duplication=False)
        return None
