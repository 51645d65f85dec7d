"""Planted defects with a known label, so that a selector can be graded against the truth.

A stated share of the pairs is spoiled, in kinds dealt evenly:

    swapped   the answer of another swapped pair
    echo      an answer that only repeats the query: verbatim, as comments, or as a docstring
    invented  terms that exist nowhere, planted into the query
    cut       the answer broken off between 10% and 60% of its length

A spoiled pair never equals a pair of the source or another spoiled one, so the label is right and ids stay unique. A
spoiled set is no longer the user's file: every record in it, clean or not, becomes {instruction, output, noise, row}.
"""

import json
import random
import re
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from qaq import spool
from qaq.tables import EXAMPLES, pair_id

CLEAN = "clean"
KINDS = ("swapped", "echo", "invented", "cut")
_CUT = (0.10, 0.60)  # share of the answer that is left
_BATCH = 1024  # rows held at a time
_TRIES = 50  # draws for one pair before another pair is taken
_ROUNDS = 1000  # exchanges before swapping is given up
_WORDS_PER_TERM = 12  # one invented term for so many words of a query, and at least two
_SYLLABLES = ("bra", "dro", "fil", "gom", "kel", "lum", "nax", "plo", "quiv", "rus", "sker", "tov", "vint", "zorb")

_Text = tuple[str, str]  # query, answer


def check(settings: dict[str, Any]) -> None:
    """ValueError for a share outside [0, 1] or an unknown kind."""
    if not 0 <= settings["noise"] <= 1:
        raise ValueError(f"data.noise={settings['noise']}: must lie in [0, 1]")
    unknown = [kind for kind in settings["noise_kinds"] if kind not in KINDS]
    if unknown or (settings["noise"] and not settings["noise_kinds"]):
        raise ValueError(f"data.noise_kinds={settings['noise_kinds']}: give some of {', '.join(KINDS)}")


def spoil(path: Path, settings: dict[str, Any]) -> dict[str, int]:
    """Rewrite the EXAMPLES at `path` with their share of spoiled pairs; the number of rows of each kind."""
    rows, scratch = pq.read_metadata(path).num_rows, path.with_suffix(".noise")
    kinds = _deal(int(settings["noise"] * rows + 0.5), settings["noise_kinds"])
    with (
        tempfile.TemporaryFile(dir=path.parent) as texts,
        pq.ParquetWriter(scratch, EXAMPLES.columns, compression="zstd") as writer,
    ):
        spoiled = _Draw(path, texts, random.Random(f"noise {settings['seed']}")).draw(kinds) if kinds else {}
        for group in _relabelled(path, spoiled, texts):
            writer.write_table(group)
    scratch.rename(path)
    return dict(Counter(kind for kind, _ in spoiled.values()) | Counter({CLEAN: rows - len(spoiled)}))


def _deal(count: int, kinds: list[str]) -> list[str]:
    dealt = [kinds[i % len(kinds)] for i in range(count)]
    if dealt.count("swapped") == 1:  # one pair cannot swap with itself
        others = [kind for kind in kinds if kind != "swapped"]
        if not others:
            raise ValueError("data.noise spoils a single pair, which has none to swap with: raise data.noise, or name "
                             "more data.noise_kinds")  # fmt: skip
        return _deal(count, others)
    return dealt


def _relabelled(path: Path, spoiled: dict[int, tuple[str, int]], texts: BinaryIO) -> Iterator[pa.Table]:
    position = 0
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        rows = file.read_row_group(group).to_pylist()
        for row in rows:
            kind, place = spoiled.get(position, (CLEAN, None))
            query, answer = (row["query"], row["answer"]) if place is None else spool.get(texts, place)
            record = {"instruction": query, "output": answer, "noise": kind, "row": row["row"]}
            row |= {"id": pair_id(query, answer), "query": query, "answer": answer, "noise": kind,
                    "record": json.dumps(record, ensure_ascii=False)}  # fmt: skip
            position += 1
        yield pa.Table.from_pylist(rows, schema=EXAMPLES.columns)


class _Draw:
    """One seeded choice of the pairs to spoil and of what becomes of them; their `texts` lie on disk."""

    def __init__(self, path: Path, texts: BinaryIO, rng: random.Random) -> None:
        self.texts, self.rng = texts, rng
        self.places: list[int] = []  # of the source's pairs, by position
        self.taken: set[str] = set()
        for batch in pq.ParquetFile(path).iter_batches(_BATCH, columns=["id", "query", "answer"]):
            ids, queries, answers = (column.to_pylist() for column in batch.columns)
            self.taken.update(ids)
            self.places += [spool.put(texts, pair) for pair in zip(queries, answers, strict=True)]

    def pair(self, position: int) -> _Text:
        """The pair as it is in the source."""
        return spool.get(self.texts, self.places[position])

    def draw(self, kinds: list[str]) -> dict[int, tuple[str, int]]:
        """position -> (kind, place of the spoiled pair). A pair that cannot take a kind (an answer of one letter cannot be
        cut) is passed over for the next one."""
        order = self.rng.sample(range(len(self.places)), len(self.places))
        swaps = kinds.count("swapped")
        spoiled = self._swapped(order[:swaps])
        pool = deque(order[swaps:])
        for kind in (kind for kind in kinds if kind != "swapped"):
            position, pair = self._next(kind, pool)
            spoiled[position] = kind, spool.put(self.texts, pair)
        return spoiled

    def _next(self, kind: str, pool: deque[int]) -> tuple[int, _Text]:
        for _ in range(len(pool)):
            position = pool.popleft()
            if pair := self._new(_SPOIL[kind], *self.pair(position)):
                return position, pair
            pool.append(position)
        raise ValueError(f"data.noise: no pair is left that can become {kind!r}: lower data.noise, or leave it out of "
                         "data.noise_kinds")  # fmt: skip

    def _new(self, change: Callable[[str, str, random.Random], _Text], query: str, answer: str) -> _Text | None:
        for _ in range(_TRIES):
            pair = change(query, answer, self.rng)
            id = pair_id(*pair)
            if id not in self.taken and pair[1].strip():
                self.taken.add(id)
                return pair
        return None

    def _swapped(self, chosen: list[int]) -> dict[int, tuple[str, int]]:
        """A permutation of the chosen answers; the pairs it leaves wrong exchange theirs with others at random."""
        takes = [*range(1, len(chosen)), *range(min(len(chosen), 1))]
        for _ in range(_ROUNDS):
            wrong = self._wrong(chosen, takes)
            if not wrong:
                break
            for i in wrong:
                j = self.rng.randrange(len(takes))
                takes[i], takes[j] = takes[j], takes[i]
        else:
            raise ValueError(f"data.noise: {len(wrong)} of {len(chosen)} pairs find no other answer to swap for (too "
                             "many share one): choose another data.seed, or leave 'swapped' out of data.noise_kinds"
                             )  # fmt: skip
        spoiled = {}
        for position, pair in zip(chosen, self._crossed(chosen, takes), strict=True):
            self.taken.add(pair_id(*pair))
            spoiled[position] = "swapped", spool.put(self.texts, pair)
        return spoiled

    def _crossed(self, chosen: list[int], takes: list[int]) -> Iterator[_Text]:
        """The query of each chosen pair with the answer it takes."""
        for position, other in zip(chosen, takes, strict=True):
            yield self.pair(position)[0], self.pair(chosen[other])[1]

    def _wrong(self, chosen: list[int], takes: list[int]) -> list[int]:
        """Where a swapped pair is a pair of the source (its own included) or repeats another swapped one."""
        seen, wrong = set(), []
        for i, pair in enumerate(self._crossed(chosen, takes)):
            id = pair_id(*pair)
            if id in self.taken or id in seen:
                wrong.append(i)
            seen.add(id)
        return wrong


def _echo(query: str, answer: str, rng: random.Random) -> _Text:
    comments = "\n".join(f"# {line}" for line in query.splitlines())
    forms = (query, comments, f'"""{query}"""', f"def solution():\n    '''{query}'''")
    return query, rng.choice(forms)


def _invented(query: str, answer: str, rng: random.Random) -> _Text:
    parts = re.split(r"(\s+)", query)  # words at even positions, the space between them at odd ones
    count = max(2, len(parts) // 2 // _WORDS_PER_TERM)
    for _ in range(count):
        at = rng.randrange(0, len(parts), 2)
        parts[at] = f"{parts[at]} {_term(rng)}".strip()
    return "".join(parts), answer


def _term(rng: random.Random) -> str:
    first, second = ("".join(rng.choices(_SYLLABLES, k=rng.randint(2, 3))) for _ in range(2))
    return rng.choice((f"`{first}_{second}`", f"{first.capitalize()}{second.capitalize()}", f"{first} {second}"))


def _cut(query: str, answer: str, rng: random.Random) -> _Text:
    low, high = -int(-_CUT[0] * len(answer) // 1), int(_CUT[1] * len(answer))
    return query, answer[: rng.randint(low, high)] if high >= low else ""


_SPOIL = {"echo": _echo, "invented": _invented, "cut": _cut}
