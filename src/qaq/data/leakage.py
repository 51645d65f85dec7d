"""XCoder's test leakage indicator, TLI (arXiv 2409.03810, section 2): how much of a benchmark's tasks the pairs give away.

A text is the set of its 4-grams and 5-grams of whitespace tokens, padded on both sides with n - 1 marks as nltk's `ngrams`
does; a token spelt like a mark is one. similarity(test, pair) = grams they share / grams of the test; TLI = mean over the tests
of the best similarity with any pair. The authors compare instructions: the pair's query with the test's prompt.

The tests are the small side, so theirs are the only grams that get a number, level by level: two tokens are a pair, two pairs a
4-gram, a 4-gram and a token a 5-gram. What has no number at one level can match nothing at the next. Numbers are exact; there
is nothing to collide. Of each pair its test grams are kept (`find`): from these follow the similarities with all tests of any
subset of the pairs, and they are far fewer than the similarities, since a phrase like "Write a function to" alone makes a pair
similar to most of MBPP.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

VERSION = 1  # of `find`: raise it when the same texts would give other grams

TEXTS = {"query": ("query",), "answer": ("answer",), "pair": ("query", "answer")}
FOUND = pa.schema([("id", pa.string()), ("grams", pa.list_(pa.int32()))])

_START, _END = "<start>", "<end>"
_PADS = 4  # of the 5-grams; the first of them is left out of the 4-grams
_BATCH = 256  # pairs whose tokens are held at a time
_ROWS = 1024  # pairs whose similarities with all tests are held at a time


@dataclass(frozen=True)
class Tests:
    """The benchmarks' texts, a `table` of benchmark, task_id and text, and which `text` of a pair (TEXTS) is held against them."""

    table: pa.Table
    text: str

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what is compared with what."""
        rows = [[str(row[name]) for name in ("benchmark", "task_id", "text")] for row in self.table.to_pylist()]
        return hashlib.sha256(repr((self.text, rows)).encode("utf-8", "surrogatepass")).hexdigest()

    @cached_property
    def index(self) -> "Index":
        """Their grams."""
        return Index(self.table["text"].to_pylist())


class Index:
    """The grams of T texts, numbered from 0: which texts hold each, and how many each text holds."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._tokens = {_START: 0, _END: 1}
        for token in (token for text in texts for token in text.split()):
            self._tokens.setdefault(token, len(self._tokens))
        self._keys: dict[int, np.ndarray] = {}  # of the 2-, 4- and 5-grams, in order: what a gram is numbered by
        tests, grams = self.grams(texts)
        self.size = np.bincount(tests, minlength=len(texts))  # [T]
        order = np.argsort(grams, kind="stable")
        self.holders = tests[order]  # the texts that hold gram g: holders[first[g] : first[g + 1]]
        self.first = np.searchsorted(grams[order], np.arange(self._count + 1))

    @property
    def _count(self) -> int:
        return len(self._keys[4]) + len(self._keys[5])

    def grams(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(position in `texts`, gram), each once and in order, of the grams that the tests hold."""
        tokens, owner, offset, left = self._stream(texts)
        pair = self._number(2, tokens[:-1], tokens[1:])
        at = np.flatnonzero((left[:-_PADS] > _PADS) & (pair[:-3] >= 0) & (pair[2:-1] >= 0))
        four = self._number(4, pair[at], pair[at + 2])
        at, four = at[four >= 0], four[four >= 0]
        five = self._number(5, four, tokens[at + _PADS])
        inner, whole = offset[at] > 0, five >= 0  # four start marks are no 4-gram of a text: it is padded with three
        place = np.concatenate([owner[at[inner]], owner[at[whole]]])
        found = np.concatenate([four[inner], five[whole] + len(self._keys[4])])
        return np.divmod(np.unique(place * self._count + found), self._count)

    def _stream(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """All texts between their marks, one after the other. Of each position: its token (-1: unknown to the tests), its text,
        how many of the text's positions come before it, and how many are left with it."""
        known, stream, sizes = self._tokens.get, [], []
        for text in texts:
            words = text.split()
            sizes.append(len(words) + 2 * _PADS)
            stream += [*([0] * _PADS), *[known(word, -1) for word in words], *([1] * _PADS)]
        owner, ends = np.repeat(np.arange(len(sizes)), sizes), np.cumsum(sizes)
        left = ends[owner] - np.arange(len(stream))
        return np.array(stream, np.int64), owner, np.array(sizes)[owner] - left, left

    def _number(self, n: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """Of grams of `n` tokens made of two numbered parts: the number, -1 where the tests hold no such gram."""
        keys = np.where((left < 0) | (right < 0), -1, left << 32 | right)
        if n not in self._keys:  # the first texts are the tests
            self._keys[n] = np.unique(keys)
        known, numbers = self._keys[n], np.full(len(keys), -1)
        asked = np.flatnonzero(keys >= 0)
        place = np.minimum(np.searchsorted(known, keys[asked]), len(known) - 1)
        numbers[asked] = np.where(known[place] == keys[asked], place, -1)
        return numbers


def find(examples: Path, tests: Tests) -> pa.Table:
    """FOUND: the test grams of each of the EXAMPLES that has any, in the file's order."""
    columns, tables = TEXTS[tests.text], [FOUND.empty_table()]
    for batch in pq.ParquetFile(examples).iter_batches(_BATCH, columns=["id", *columns]):
        texts = [" ".join(parts) for parts in zip(*(batch[name].to_pylist() for name in columns), strict=True)]
        owner, grams = tests.index.grams(texts)
        some, start = np.unique(owner, return_index=True)
        lists = pa.ListArray.from_arrays(pa.array([*start, len(grams)], pa.int32()), pa.array(grams, pa.int32()))
        tables.append(pa.table([batch["id"].take(pa.array(some)), lists], schema=FOUND))
    return pa.concat_tables(tables)


def reasons(examples: Path, tests: Tests, threshold: float) -> dict[str, str]:
    """Of each pair whose best similarity with a test reaches the threshold: its id, and why it goes."""
    found, named = find(examples, tests), tests.table.select(["benchmark", "task_id"]).to_pylist()
    worst = leak(found, tests.index)
    over = np.flatnonzero(worst.of_pair >= threshold)
    ids = found["id"].take(pa.array(over)).to_pylist()
    return {id: f"leaks {named[test]['task_id']} ({named[test]['benchmark']}): similarity {similarity:.3f}, "
                f"data.decontaminate={threshold}"
            for id, test, similarity in zip(ids, worst.test[over], worst.of_pair[over], strict=True)}  # fmt: skip


def among(found: pa.Table, ids: pa.Array | pa.ChunkedArray) -> pa.Table:
    """The rows of FOUND of those pairs."""
    return found.filter(pc.is_in(found["id"], value_set=ids))


class Leak(NamedTuple):
    """The best similarities of P pairs (rows of FOUND) with T tests. Of several that are as good the first counts."""

    of_test: np.ndarray  # float64 [T]
    pair: np.ndarray  # int [T]: the row of the pair it is with; -1 where the similarity is 0
    of_pair: np.ndarray  # float64 [P]
    test: np.ndarray  # int [P]: the test it is with


def leak(found: pa.Table, index: Index) -> Leak:
    """How much the pairs in FOUND give away of each test, and each of them of any."""
    of_test, pair = np.zeros(len(index.size)), np.full(len(index.size), -1)
    of_pair, test = np.zeros(len(found)), np.zeros(len(found), int)
    for start, similarity in _similarities(found, index):
        rows = slice(start, start + len(similarity))
        test[rows] = similarity.argmax(axis=1)
        of_pair[rows] = similarity.max(axis=1)
        best = similarity.max(axis=0)
        better = best > of_test
        pair[better] = start + similarity.argmax(axis=0)[better]
        of_test = np.maximum(of_test, best)
    return Leak(of_test, pair, of_pair, test)


def _similarities(found: pa.Table, index: Index) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, similarities [R, T]) of R rows of FOUND at a time."""
    tests = len(index.size)
    for start in range(0, len(found), _ROWS):
        grams = found["grams"].slice(start, _ROWS).combine_chunks()
        row = np.repeat(np.arange(len(grams)), pc.list_value_length(grams).to_numpy())
        gram = grams.flatten().to_numpy()
        holders = index.first[gram + 1] - index.first[gram]
        skipped = np.repeat(index.first[gram] - np.cumsum(holders) + holders, holders)
        test = index.holders[skipped + np.arange(len(skipped))]
        shared = np.bincount(np.repeat(row, holders) * tests + test, minlength=len(grams) * tests)
        yield start, shared.reshape(-1, tests) / index.size
