"""data.near_duplicates: which pairs go, against all pairs compared one by one, and what is told of them."""

import json
import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from loading import load, settings

from qaq import data, tables
from qaq.data import near_duplicates, stdlib


def put(place: Path, pairs: list[tuple[str, str]]) -> str:
    tables.write_jsonl([{"instruction": query, "output": answer} for query, answer in pairs], place / "pairs.jsonl")
    return str(place / "pairs.jsonl")


def similarity(one: tuple[str, str], other: tuple[str, str]) -> float:
    """Jaccard of the sets of five words or signs, counted by hand."""

    def grams(pair: tuple[str, str]) -> set[tuple[str, ...]]:
        words = near_duplicates._WORDS.findall("\n".join(pair).lower())
        return {tuple(words[i : i + 5]) for i in range(max(len(words) - 4, 1))}

    first, second = grams(one), grams(other)
    return len(first & second) / len(first | second)


def changed(pair: tuple[str, str], words: int, rng: random.Random) -> tuple[str, str]:
    """The pair with so many words of its answer replaced."""
    parts = pair[1].split(" ")
    for place in rng.sample(range(len(parts)), words):
        parts[place] = f"changed{rng.randrange(10**6)}"
    return pair[0], " ".join(parts)


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    """300 pairs of the standard library and, after them, copies of 100 with one to three words changed."""
    rng = random.Random(0)
    long = [pair for pair in stdlib.mine() if len(pair["output"].split(" ")) > 60][:300]
    found = [(pair["instruction"], pair["output"]) for pair in long]
    return found + [changed(found[i], 1 + i % 3, rng) for i in range(100)]


def test_planted_copies_are_found_and_all_that_goes_is_as_close_as_is_said(tmp_path, pairs):
    counts, kept, quarantine = load(tmp_path / "out", path=put(tmp_path, pairs), near_duplicates=0.8)
    stay, truth = [], {}  # the rule itself, every pair compared
    for row, pair in enumerate(pairs):
        near = [(similarity(pair, pairs[other]), -other) for other in stay]
        if near and max(near)[0] >= 0.8:
            truth[row] = max(near)
        else:
            stay.append(row)
    gone = {line["row"]: line["reason"] for line in quarantine}
    assert len(truth) > 80
    assert set(gone) <= set(truth)  # precision: nothing goes that should stay
    assert len(gone) >= 0.98 * len(truth)  # recall
    for row, reason in gone.items():
        assert reason == f"near-duplicate of row {-truth[row][1]}: Jaccard {truth[row][0]:.2f}"
    assert counts["by_reason"] == {"near-duplicate": len(gone)}
    assert [row["row"] for row in kept] == [row for row in range(len(pairs)) if row not in gone]
    shown = counts["near_duplicates"]
    assert len(shown) == 3
    assert all(pairs[row["row"]][0] == row["query"] and pairs[row["of_row"]][0] == row["of_query"] for row in shown)


def test_the_same_file_gives_the_same_bytes(tmp_path, pairs):
    path, made = put(tmp_path, pairs[150:]), []
    for name in ("one", "two"):
        load(tmp_path / name, path=path, near_duplicates=0.7)
        made.append([(tmp_path / name / file).read_bytes() for file in ("examples.parquet", "quarantine.jsonl")])
    assert made[0] == made[1]


def test_exact_duplicates_go_first_and_another_answer_is_no_copy(tmp_path):
    words = " ".join(f"word{i}" for i in range(40))
    rows = [
        ("Explain.", words),
        ("Explain.", words),
        ("Explain.", words + " again"),
        ("Explain.", words[::-1]),
        ("Say it.", "Yes."),
    ]
    counts, kept, quarantine = load(tmp_path / "out", path=put(tmp_path, rows), near_duplicates=0.8)
    assert [row["row"] for row in kept] == [0, 3, 4]
    assert counts["by_reason"] == {"duplicate": 1, "near-duplicate": 1}
    assert [line["reason"] for line in quarantine] == ["duplicate of row 0", "near-duplicate of row 0: Jaccard 0.97"]


@pytest.mark.parametrize("text", ["", " \n", "a", "a b c d", "a b c d e", "a a a a a a a", "def f(x): return x + 1"])
def test_shingles_are_the_sets_of_five_words_or_signs(text):
    words = near_duplicates._WORDS.findall(text)
    windows = {tuple(words[i : i + 5]) for i in range(max(len(words) - 4, 1))} if words else set()
    assert len(near_duplicates.shingles(text)) == len(windows)
    assert (np.diff(near_duplicates.shingles(text).astype(object)) > 0).all()


def test_texts_without_a_word_are_nobodys_copies_and_short_ones_only_of_their_equals(tmp_path):
    rows = [("a b", "c"), ("a b", "C"), ("b a", "c"), ("?", "!"), ("\u200b", "\u200b")]
    _, kept, _ = load(tmp_path / "out", path=put(tmp_path, rows), near_duplicates=0.01)
    assert [row["row"] for row in kept] == [0, 2, 3, 4]


@pytest.mark.parametrize("threshold", [0.04, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_a_pair_at_the_threshold_is_proposed_99_times_in_100(threshold):
    bands, rows = near_duplicates.bands(threshold)
    assert bands * rows <= 128
    assert 1 - (1 - threshold**rows) ** bands >= 0.99


def test_distinct_words_have_distinct_shingles():
    texts = [" ".join(words) for words in combinations("abcdefghijkl", 5)]
    assert len(np.unique(np.concatenate([near_duplicates.shingles(text) for text in texts]))) == len(texts)


def test_the_threshold_is_part_of_what_the_examples_are(tmp_path):
    path = put(tmp_path, [("a", "b")])
    found = {json.dumps(data.identity(settings(path=path, near_duplicates=t))) for t in (None, 0.8, 0.9)}
    assert len(found) == 3
