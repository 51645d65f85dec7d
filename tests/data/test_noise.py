"""Planted defects: their labels are right, their number is exact, and the seed decides which."""

import hashlib
import json
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from loading import load

from qaq.data.noise import CLEAN, KINDS
from qaq.tables import pair_id


def loaded(pairs, **changed):
    """(pairs by row, rows, counts) of a spoiled load of `pairs`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_text("".join(json.dumps({"instruction": q, "output": a, "more": 1}) + "\n" for q, a in pairs))
        counts, kept, _ = load(Path(folder) / "out", path=str(path), **changed)
    return dict(enumerate(pairs)), kept, counts


_word = st.text("abcdef \n", min_size=1, max_size=30).filter(str.strip)
_pairs = st.lists(st.tuples(_word, _word), min_size=1, max_size=40, unique=True).map(
    lambda pairs: [(f"{q} {i // 2}", f"def f{i % 5}(): {a}") for i, (q, a) in enumerate(pairs)]
)
_kinds = st.lists(st.sampled_from(KINDS), min_size=1, unique=True)


@given(_pairs, st.floats(0.01, 1), _kinds, st.integers(0, 5))
@hypothesis_settings(max_examples=40, deadline=None)
def test_share_labels_ids_and_records_hold_for_any_set(pairs, share, kinds, seed):
    changed = {"noise": share, "noise_kinds": kinds, "seed": seed}
    try:
        before, kept, counts = loaded(pairs, **changed)
    except ValueError as impossible:  # a few pairs that share their queries may have nothing to swap
        if "swap" not in str(impossible):
            raise
        return
    spoiled = [row for row in kept if row["noise"] != CLEAN]
    assert len(spoiled) == int(share * counts["kept"] + 0.5)
    _check_deal(Counter(row["noise"] for row in spoiled), kinds)
    assert counts["noise"] == Counter(row["noise"] for row in kept)
    assert len({row["id"] for row in kept}) == len(kept)
    for row in kept:
        assert row["id"] == pair_id(row["query"], row["answer"])
        assert json.loads(row["record"]) == {"instruction": row["query"], "output": row["answer"],
                                             "noise": row["noise"], "row": row["row"]}  # fmt: skip
    _check_kinds(before, kept)


def _check_deal(dealt, kinds):
    numbers = [dealt[kind] for kind in kinds if kind != "swapped" or dealt[kind]]  # a single pair is not swapped
    assert max(numbers, default=0) - min(numbers, default=0) <= 1
    assert dealt["swapped"] != 1


def _check_kinds(before, kept):
    originals = set(before.values())
    swapped = [row for row in kept if row["noise"] == "swapped"]
    assert Counter(row["answer"] for row in swapped) == Counter(before[row["row"]][1] for row in swapped)
    for row in kept:
        query, answer = before[row["row"]]
        kind, new = row["noise"], (row["query"], row["answer"])
        assert (new in originals) == (kind == CLEAN)
        if kind == "swapped":
            assert row["query"] == query
            assert row["answer"] != answer
        elif kind == "echo":
            assert row["query"] == query
            assert all(word in row["answer"] for word in query.split())
        elif kind == "invented":
            assert row["answer"] == answer
            assert not Counter(query.split()) - Counter(row["query"].split())
        elif kind == "cut":
            assert row["query"] == query
            assert answer.startswith(row["answer"])
            assert 0.1 * len(answer) <= len(row["answer"]) <= 0.6 * len(answer)


MANY = [(f"write function {i}", f"def function_{i}():\n    return {i}\n") for i in range(200)]


def test_the_seed_decides_and_nothing_else_does():
    first, again, other = (loaded(MANY, noise=0.3, seed=seed)[1] for seed in (1, 1, 2))
    assert first == again
    assert [row["noise"] for row in first] != [row["noise"] for row in other]


def test_a_seed_keeps_its_meaning():
    pairs = [(f"write function {i}", f"def function_{i % 700}():\n    return {i % 700}\n") for i in range(3000)]
    ids = [row["id"] for row in loaded(pairs, noise=0.4, seed=3)[1]]
    assert (
        hashlib.sha256("".join(ids).encode()).hexdigest()
        == "6b6065ceb30eb4e0509fde4f5904834bf2f5914b9dd96c026df2ea1beec154a5"
    )


@pytest.mark.parametrize(("share", "spoiled"), [(0.3, 60), (1.0, 200), (0.0025, 1), (0.002, 0)])
def test_the_share_is_exact_rounded_half_up(share, spoiled):
    _, kept, _ = loaded(MANY, noise=share)
    assert sum(row["noise"] != CLEAN for row in kept) == spoiled


def test_kinds_are_dealt_evenly():
    assert loaded(MANY, noise=0.3)[2]["noise"] == {"swapped": 15, "echo": 15, "invented": 15, "cut": 15, "clean": 140}


def test_without_noise_nothing_is_labelled_and_the_record_is_untouched():
    _, kept, counts = loaded(MANY)
    assert {row["noise"] for row in kept} == {None}
    assert "noise" not in counts
    assert json.loads(kept[0]["record"])["more"] == 1


def test_answers_too_short_to_cut_are_passed_over():
    pairs = [(f"q{i}", "x" if i % 2 else "long enough") for i in range(20)]
    _, kept, _ = loaded(pairs, noise=0.2, noise_kinds=["cut"])
    assert {row["row"] % 2 for row in kept if row["noise"] == "cut"} == {0}


@pytest.mark.parametrize(
    ("pairs", "changed", "said"),
    [
        ([(f"q{i}", "same") for i in range(9)], {"noise_kinds": ["swapped"]}, "find no other answer"),
        ([(f"q{i}", "x") for i in range(9)], {"noise_kinds": ["cut"]}, "no pair is left that can become 'cut'"),
        (MANY[:2], {"noise_kinds": ["swapped"]}, "a single pair"),
        (MANY[:2], {"noise_kinds": ["swaped"]}, "give some of swapped, echo, invented, cut"),
        (MANY[:2], {"noise_kinds": []}, "give some of"),
        (MANY[:2], {"noise": 1.5}, r"must lie in \[0, 1\]"),
    ],
)
def test_noise_that_cannot_be_made_is_refused_with_the_option_to_change(pairs, changed, said):
    with pytest.raises(ValueError, match=said):
        loaded(pairs, **{"noise": 0.5, **changed})
