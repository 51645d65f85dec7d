"""The order of a training: every row once an epoch, whatever reads it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaq.train.plan import digest, order, padded, seats, split, updates

ROWS, BATCH, SEED = st.integers(1, 200), st.integers(1, 40), st.integers(0, 5)


@given(ROWS, BATCH, st.integers(1, 3), SEED)
def test_every_epoch_reads_every_row_once(rows, batch, epochs, seed):
    found = order(rows, batch, updates(rows, batch, epochs), seed)
    per_epoch = len(found) // epochs
    for epoch in range(epochs):
        part = found[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert sorted(part[part >= 0]) == list(range(rows))
        assert (part[:-1] >= 0).all()  # only an epoch's last update may be short


@given(ROWS, BATCH, st.integers(1, 30), SEED)
def test_a_number_of_updates_is_the_opening_of_a_longer_training(rows, batch, count, seed):
    assert (order(rows, batch, count, seed) == order(rows, batch, count + 7, seed)[:count]).all()


@given(BATCH, st.integers(1, 16), st.integers(1, 16), st.integers(1, 6))
def test_ranks_and_passes_share_an_update_without_losing_or_doubling_a_row(batch, micro, ranks, count):
    if ranks > batch:
        with pytest.raises(ValueError, match=rf"train.batch_size={batch} over {ranks} ranks"):
            split(batch, micro, ranks)
        return
    whole, found = split(batch, micro, ranks), order(3 * batch, batch, count, 0)
    assert whole.micro <= micro
    assert batch <= whole.slots < batch + ranks * whole.passes
    lengths = np.random.default_rng(count).integers(1, 9, 3 * batch)
    dealt = seats(found, whole, lengths).reshape(count, whole.passes, ranks, whole.micro)
    for update, places in zip(found, dealt, strict=True):
        assert sorted(places[places >= 0]) == sorted(update[update >= 0])
        assert (places >= 0).any(axis=(0, 2)).all()  # no rank is idle
        sizes = np.where(places < 0, 0, lengths[places])
        assert (
            sizes.min(axis=(1, 2))[:-1] >= sizes.max(axis=(1, 2))[1:]
        ).all()  # a pass's rows are as long as each other, nearly


@given(ROWS, BATCH, st.integers(1, 8), st.integers(1, 4), SEED)
def test_a_pass_reads_its_longest_row_as_often_as_it_has_rows(rows, batch, micro, ranks, seed):
    whole, lengths = split(batch, micro, min(ranks, batch)), np.random.default_rng(seed).integers(1, 99, rows)
    dealt = seats(order(rows, batch, updates(rows, batch, 1), seed), whole, lengths)
    passes = [dealt[first : first + whole.micro] for first in range(0, len(dealt), whole.micro)]
    read = [[lengths[seat] for seat in seated if seat >= 0] for seated in passes]
    assert padded(dealt, whole.micro, lengths).tolist() == [len(own) * max(own, default=0) for own in read]


def test_one_and_a_half_epochs_are_half_again_as_many_updates():
    assert updates(10, 4, 1.5) == 5  # 3 an epoch
    assert updates(12, 4, 1 / 3) == 1
    assert updates(10, 4, 0.01) == 1


def test_neighbouring_seeds_share_no_epoch():
    first, second = (order(100, 100, 4, seed) for seed in (0, 1))
    assert not any((a == b).all() for a in first for b in second)


def test_the_digest_is_of_order_and_rows():
    found = order(4, 2, 2, 0)
    ids = ["a", "b", "c", "d"]
    assert digest(found, ids) == digest(found.copy(), list(ids))
    assert digest(found, ids) != digest(found, ["a", "b", "c", "e"])
    assert digest(found, ids) != digest(np.flip(found, 0), ids)
