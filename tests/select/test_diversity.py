"""The diversity walk against its definition, a plain double loop in float64."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from qaq.select import diversity

EXACT = 10**9


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(seed, rows, dimensions, around):
    """Unit rows near a few centres: `around` is how far they scatter."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, rows // 8), dimensions))
    return unit(centres[rng.integers(0, len(centres), rows)] + around * rng.standard_normal((rows, dimensions)))


def plain(embeddings, order, threshold, count):
    """The definition, a pair at a time."""
    wide, kept = embeddings.astype(np.float64), []
    for row in order:
        if len(kept) < count and all(float(wide[row] @ wide[other]) < threshold for other in kept):
            kept.append(int(row))
    return kept


walks = given(seed=st.integers(0, 999), rows=st.integers(1, 150), dimensions=st.sampled_from([2, 3, 40, 90]),
              around=st.sampled_from([0.05, 0.2, 0.6, 2.0]), threshold=st.sampled_from([0.3, 0.8, 0.945, 0.99]),
              block=st.sampled_from([1, 3, 16, 1024]), chunk=st.sampled_from([1, 5, 4096]))  # fmt: skip


@walks
def test_the_walk_decides_as_the_double_loop_whatever_the_block(
    seed, rows, dimensions, around, threshold, block, chunk
):
    embeddings = clustered(seed, rows, dimensions, around)
    order, count = np.random.default_rng(seed).permutation(rows), max(1, rows * 3 // 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diversity, "BLOCK", block)
        patch.setattr(diversity, "CHUNK", chunk)
        kept = diversity.walk(embeddings, order, threshold, count, EXACT).tolist()
    assert kept == plain(embeddings, order, threshold, count)


@pytest.mark.parametrize("width", [None, 1, 4, 32])
def test_no_basis_changes_a_decision(width, monkeypatch):
    embeddings, order = clustered(3, 300, 64, 0.3), np.arange(300)
    directions = np.linalg.svd(embeddings, full_matrices=False)[2]
    monkeypatch.setattr(diversity, "_basis", lambda *_: None if width is None else directions[:width].T)
    assert diversity.walk(embeddings, order, 0.8, 300, EXACT).tolist() == plain(embeddings, order, 0.8, 300)


@given(seed=st.integers(0, 99), width=st.integers(1, 30))
def test_the_product_of_shortened_rows_is_never_below_the_cosine(seed, width):
    rows = clustered(seed, 60, 30, 0.5)
    short = diversity._shortened(rows, np.arange(60), np.linalg.svd(rows, full_matrices=False)[2][:width].T)
    assert (short @ short.T >= rows.astype(np.float64) @ rows.T.astype(np.float64) - 1e-5).all()


def test_the_width_is_narrow_where_a_few_directions_tell_rows_apart_and_the_whole_where_none_do():
    rng = np.random.default_rng(0)
    flat = unit(rng.standard_normal((3000, 128)) * np.where(np.arange(128) < 20, 1, 0.05))
    assert diversity._basis(flat, np.arange(3000), 0.945).shape == (128, 32)
    alike = unit(
        rng.standard_normal((3000, 128)) * 0.28 / 128**0.5 + np.eye(128)[0]
    )  # cosines of about 0.93 by noise alone
    assert diversity._basis(alike, np.arange(3000), 0.945) is None
    assert diversity.walk(alike, np.arange(300), 0.945, 300, EXACT).tolist() == plain(alike, np.arange(300), 0.945, 300)


@pytest.mark.parametrize("exact_up_to", [EXACT, 0])
@given(seed=st.integers(0, 99), rows=st.integers(1, 120))
def test_nothing_kept_is_too_close_and_nothing_else_was_far_enough(exact_up_to, seed, rows):
    """What an index finds is verified, and one list holds everything at this size, so it agrees with the loop here."""
    embeddings, order = clustered(seed, rows, 12, 0.3), np.random.default_rng(seed).permutation(rows)
    kept = diversity.walk(embeddings, order, 0.9, rows, exact_up_to)
    cosines = embeddings[kept].astype(np.float64) @ embeddings[kept].T.astype(np.float64)
    assert kept[0] == order[0]
    assert (cosines[~np.eye(len(kept), dtype=bool)] < 0.9).all()
    assert kept.tolist() == plain(embeddings, order, 0.9, rows)


def test_an_index_of_many_lists_misses_little_and_only_keeps_too_much_for_it(monkeypatch):
    embeddings, order = clustered(5, 6000, 16, 0.2), np.arange(6000)
    monkeypatch.setattr(diversity, "PROBES", 2)
    exact = diversity.walk(embeddings, order, 0.945, 6000, EXACT)
    index = diversity.walk(embeddings, order, 0.945, 6000, 0)
    assert len(exact) < 4000
    assert len(np.setxor1d(exact, index)) < 0.02 * len(exact)
    first = next((k for k, (one, other) in enumerate(zip(exact, index, strict=False)) if one != other), len(exact))
    assert first == len(exact) or index[first] < exact[first]  # the first difference is a row too many


def test_the_first_is_always_kept_and_equal_rows_once():
    embeddings = unit(np.ones((50, 5)))
    assert diversity.walk(embeddings, np.arange(50)[::-1], 0.945, 50, EXACT).tolist() == [49]


def test_a_cosine_at_the_threshold_is_too_close():
    embeddings = np.array([[1, 0], [0.6, 0.8], [0, 1]], dtype=np.float32)
    cosine = float(np.float64(np.float32(0.6)))
    order = np.arange(2)
    assert diversity.walk(embeddings, order, cosine, 2, EXACT).tolist() == [0]
    assert diversity.walk(embeddings, order, np.nextafter(cosine, 1), 2, EXACT).tolist() == [0, 1]


@pytest.mark.parametrize(("row", "length"), [([3.0, 4.0], "5"), ([0.0, 0.0], "0"), ([np.nan, 1.0], "nan")])
def test_rows_that_are_not_of_length_one_are_refused(row, length):
    with pytest.raises(ValueError, match=f"embedding 1 has the length {length}: .* length 1"):
        diversity.walk(np.array([[1.0, 0.0], row], dtype=np.float32), np.arange(2), 0.9, 2, EXACT)


def test_the_index_and_torch_work_in_one_process_in_either_order():
    """faiss brings an OpenMP and a BLAS of its own."""
    code = """
import sys
sys.path.insert(0, "src")
import numpy as np
for name in sys.argv[1:]:
    __import__(name)
import torch
from qaq.select import diversity
rows = np.random.default_rng(0).standard_normal((4000, 32)).astype(np.float32)
rows /= np.linalg.norm(rows, axis=1, keepdims=True)
before = torch.ones(300, 300) @ torch.ones(300, 300)
assert len(diversity.walk(rows, np.arange(4000), 0.9, 4000, 0)) == 4000
assert torch.equal(before, torch.ones(300, 300) @ torch.ones(300, 300))
"""
    for modules in (["torch", "faiss"], ["faiss", "torch"]):
        subprocess.run([sys.executable, "-c", code, *modules], cwd=ROOT, check=True)


def test_an_exact_walk_loads_no_index():
    code = "import sys; sys.path.insert(0, 'src'); import numpy as np; from qaq.select import diversity\n" \
           "diversity.walk(np.eye(4, dtype=np.float32), np.arange(4), 0.9, 4, 4); assert 'faiss' not in sys.modules"  # fmt: skip
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
