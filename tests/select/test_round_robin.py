"""RDS+'s round-robin against its definition: each item in turn takes the best that is left."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaq import select
from qaq.select import rds

RDS = {"name": "rds"}


def brute(similarity, count):
    left, taken = set(range(len(similarity))), []
    while len(taken) < count:
        item = len(taken) % similarity.shape[1]
        taken.append(min(left, key=lambda row: (-similarity[row, item], row)))
        left.discard(taken[-1])
    return taken


def drawn(seed, pairs, items, kind):
    rng = np.random.default_rng(seed)
    if kind == "ties":
        return rng.integers(0, 4, (pairs, items)).astype(np.float32)
    own = rng.standard_normal((pairs, items))
    return (own if kind == "spread" else 0.05 * own + rng.standard_normal((pairs, 1))).astype(np.float32)


rounds = given(seed=st.integers(0, 999), pairs=st.integers(1, 60), items=st.integers(1, 40), share=st.floats(0.01, 1),
               kind=st.sampled_from(["spread", "alike", "ties"]))  # fmt: skip


@rounds
def test_each_item_takes_its_best_remaining_pair_in_turn(seed, pairs, items, share, kind):
    similarity, count = drawn(seed, pairs, items, kind), max(1, int(share * pairs))
    assert rds.round_robin(similarity, count).tolist() == brute(similarity, count)


@pytest.mark.parametrize("depth", [1, 2, 100])
def test_the_length_of_the_shortlists_changes_nothing(depth, monkeypatch):
    similarity = drawn(1, 300, 7, "alike")
    monkeypatch.setattr(rds, "DEPTH", depth)
    monkeypatch.setattr(rds, "ITEMS_AT_ONCE", 3)
    assert rds.round_robin(similarity, 290).tolist() == brute(similarity, 290)


def test_by_hand():
    """Two items: the first takes a, the second, whose best is a too, takes b, the first then its next, d."""
    table = pa.table({"id": ["d", "c", "b", "a"],
                      "similarity": pa.array([[0.7, 0.1], [0.2, 0.2], [0.1, 0.8], [0.9, 0.9]], pa.list_(pa.float32()))})  # fmt: skip
    chosen = select.select(table, RDS, 3, 0)
    assert chosen["id"].to_pylist() == ["a", "b", "d"]
    assert chosen["priority"].to_pylist() == pytest.approx([1, 2 / 3, 1 / 3])


@rounds
def test_the_order_of_the_rows_does_not_matter(seed, pairs, items, share, kind):
    similarity, count = drawn(seed, pairs, items, kind), max(1, int(share * pairs))
    table = pa.table(
        {"id": [f"{k:03}" for k in range(pairs)], "similarity": pa.array(list(similarity), pa.list_(pa.float32()))}
    )
    shuffled = table.take(pa.array(np.random.default_rng(seed).permutation(pairs)))
    chosen = select.select(shuffled, RDS, count, 0)
    assert chosen.equals(select.select(table, RDS, count, 0))
    assert chosen["id"].to_pylist() == [f"{k:03}" for k in brute(similarity, count)]


@pytest.mark.parametrize(("similarity", "message"), [
    ([[0.1, 0.2], [0.3]], "similarity of pair b holds 1 numbers, that of the first pair 2"),
    ([[0.1, 0.2], None], "similarity of pair b holds 0 numbers"),
    ([[0.1, 0.2], [0.3, float("nan")]], "similarity of pair b holds a value that is not finite"),
])  # fmt: skip
def test_a_ragged_missing_or_undefined_similarity_names_the_pair(similarity, message):
    table = pa.table({"id": ["a", "b"], "similarity": pa.array(similarity, pa.list_(pa.float32()))})
    with pytest.raises(ValueError, match=message):
        select.select(table, RDS, 1, 0)
