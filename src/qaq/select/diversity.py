"""XCoder's diversity sampler: down a ranking, a pair is kept if none kept before it is too similar (arXiv 2409.03810).

The decisions are those of the plain double loop in float64, at any block size. What is compared in full is little: the
cosine of two rows is at most the product of their first W coordinates in a rotated basis, plus the product of the lengths
of what is left of each (Cauchy and Schwarz). That bound is a float32 matrix product of W + 1 columns, a block of rows
against all kept ones; only where it reaches the threshold are the rows themselves multiplied, in float64. The basis is
that of the largest variance in a sample, and W the smallest width whose bound seldom reaches the threshold in vain; where
none is, whole rows are multiplied. Neither can change a decision.

Above `exact_up_to` rows the kept ones are looked up in an index instead (faiss, inverted lists). What it finds is verified
the same way, and rows of one block are still compared exactly: its one error is a neighbour that it misses, and then a row
too many is kept.

Letters: N rows, D dimensions, W directions, M rows of the ranking, B of them in a block, K kept so far, P pairs of rows.
"""

from typing import Protocol

import numpy as np

Array = np.ndarray

BLOCK = 1024  # rows looked up at once
CHUNK = 4096  # kept rows that meet a block at once: their products, 16 MB, stay near the processor
WIDTHS = (32, 64, 128, 256)
SAMPLE = 2048  # rows that choose the basis (every other one) and its width (the rest)
IN_VAIN = 1e-4  # share of pairs whose bound may reach the threshold and their cosine not: as dear as the other products
EXACT_AT_ONCE = 2**21  # numbers in float64 at once, 16 MB
ROUNDING = 4 * float(np.finfo(np.float32).eps)  # of a float32 sum of products of unit rows: below this times its terms
NOT_UNIT = 1e-3  # a row this much longer or shorter than 1 was not normalised; half precision is within it

LISTS_PER_ROOT = 4  # inverted lists: this many times the square root of M (faiss's guidelines: 4 to 16)
TRAIN_PER_LIST = 40  # rows that place a list's centre; below 39 faiss warns
PROBES = 16  # lists that are searched


class _Kept(Protocol):
    """The rows kept so far. Blocks are positions in the ranking, int64 [B], and come in its order."""

    def near(self, block: Array) -> Array:
        """bool [B]: is a kept row similar?"""

    def add(self, block: Array) -> None:
        """Keep these."""


def walk(embeddings: Array, order: Array, threshold: float, count: int, exact_up_to: int) -> Array:
    """The first `count` rows of `order`, or all there are, whose cosine with every row kept before is below `threshold`.

    embeddings: float32 [N, D], rows of length 1; ValueError for one that is not. order: int64 [M], best first. Returns
    int64 [<= count] in that order. Memory beside the embeddings: 4 x M x (W + 1) bytes (4 x M x D where no width serves) and
    about 100 MB; with the index 4 x K x D bytes and about 100 MB.
    """
    _check_lengths(embeddings, order)
    kept: _Kept = (_Bounded if len(order) <= exact_up_to else _Indexed)(embeddings, order, threshold)
    found, size = [order[:0]], 0
    for start in range(0, len(order), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(order)))
        block = block[~kept.near(block)]
        block = block[_apart(embeddings, order[block], threshold)]
        kept.add(block)
        found.append(order[block])
        size += len(block)
        if size >= count:
            break
    return np.concatenate(found)[:count]


def similar(embeddings: Array, left: Array, right: Array, threshold: float) -> Array:
    """bool [P]: is the cosine of rows left[p] and right[p], in float64, at least `threshold`?"""
    step = max(1, EXACT_AT_ONCE // embeddings.shape[1])
    parts = [np.empty(0)]
    for start in range(0, len(left), step):
        left_PD, right_PD = (embeddings[side[start : start + step]].astype(np.float64) for side in (left, right))
        parts.append(np.einsum("pd,pd->p", left_PD, right_PD))
    return np.concatenate(parts) >= threshold


def _check_lengths(embeddings: Array, order: Array) -> None:
    step = max(1, EXACT_AT_ONCE // embeddings.shape[1])
    for start in range(0, len(order), step):
        rows = order[start : start + step]
        lengths = np.linalg.norm(embeddings[rows], axis=1)
        wrong = np.flatnonzero(~(np.abs(lengths - 1) <= NOT_UNIT))  # also NaN
        if len(wrong):
            raise ValueError(f"embedding {rows[wrong[0]]} has the length {lengths[wrong[0]]:.4g}: cosines need rows of length 1 "
                             "(L2-normalised)")  # fmt: skip


def _apart(embeddings: Array, rows: Array, threshold: float) -> Array:
    """bool [B]: the walk over one block alone."""
    block_BD = embeddings[rows]
    later, earlier = _where(np.tril(block_BD @ block_BD.T >= _limit(threshold, block_BD.shape[1]), -1))
    true = similar(block_BD, later, earlier, threshold)
    kept = np.ones(len(rows), dtype=bool)
    for row, rival in zip(later[true].tolist(), earlier[true].tolist(), strict=True):  # by row: its rivals are decided
        if kept[rival]:
            kept[row] = False
    return kept


def _where(mask: Array) -> tuple[Array, Array]:
    """Rows and columns of what is true, by row. np.nonzero takes 50 times as long where that is next to nothing."""
    row, column = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return row, column


def _limit(threshold: float, terms: int) -> float:
    """A float32 sum of `terms` products below it says that the cosine is below `threshold`."""
    return threshold - ROUNDING * terms


class _Bounded:
    """Exact: bounds of all cosines, and those that are not below the threshold computed."""

    def __init__(self, embeddings: Array, order: Array, threshold: float) -> None:
        self.embeddings, self.order, self.threshold = embeddings, order, threshold
        self.limit = _limit(threshold, embeddings.shape[1])
        self.short = _shortened(embeddings, order, _basis(embeddings, order, self.limit))
        self.kept = np.empty(0, dtype=np.int64)  # positions; their short rows are moved to the front, over decided ones

    def near(self, block: Array) -> Array:
        """See _Kept."""
        near, short_BW = np.zeros(len(block), dtype=bool), self.short[block]
        for start in range(0, len(self.kept), CHUNK):
            bound_BK = short_BW @ self.short[start : min(start + CHUNK, len(self.kept))].T
            row, rival = _where(bound_BK >= self.limit)
            row, rival = row[~near[row]], rival[~near[row]]
            true = similar(
                self.embeddings, self.order[block[row]], self.order[self.kept[start + rival]], self.threshold
            )
            near[row[true]] = True
        return near

    def add(self, block: Array) -> None:
        """See _Kept."""
        self.short[len(self.kept) : len(self.kept) + len(block)] = self.short[block]
        self.kept = np.concatenate([self.kept, block])


def _basis(embeddings: Array, order: Array, limit: float) -> Array | None:
    """float32 [D, W], orthonormal columns: the narrowest that tells nearly all pairs of a sample apart; None if none does."""
    sample = embeddings[order[np.linspace(0, len(order) - 1, min(SAMPLE, len(order))).astype(np.int64)]]
    of_basis, of_width = sample[::2], sample[1::2]
    below = of_width @ of_width.T < limit
    _, _, directions = np.linalg.svd(of_basis, full_matrices=False)
    for width in WIDTHS:
        if 2 * width > embeddings.shape[1]:
            return None
        basis = directions[:width].T
        short = _shortened(of_width, np.arange(len(of_width)), basis)
        if ((short @ short.T >= limit) & below).sum() <= IN_VAIN * below.size:
            return basis
    return None


def _shortened(embeddings: Array, order: Array, basis: Array | None) -> Array:
    """float32 [M, W + 1] in the order: coordinates and the length of what they leave out. The products of two such rows are
    at least the cosine. Without a basis the rows as they are."""
    if basis is None:
        return embeddings[order]
    width, step = basis.shape[1], max(1, EXACT_AT_ONCE // embeddings.shape[1])
    short = np.empty((len(order), width + 1), dtype=np.float32)
    for start in range(0, len(order), step):
        rows = embeddings[order[start : start + step]]
        inside = rows @ basis
        left_out = np.einsum("md,md->m", rows, rows) - np.einsum("mw,mw->m", inside, inside)
        short[start : start + step, :width] = inside
        short[start : start + step, width] = np.sqrt(np.maximum(left_out, 0) + ROUNDING * rows.shape[1])
    return short


class _Indexed:
    """Approximate: inverted lists of the kept rows. The centres come from an even sample of the ranking."""

    def __init__(self, embeddings: Array, order: Array, threshold: float) -> None:
        import faiss  # with its own libraries of 65 MB: loaded only where it is used

        self.embeddings, self.order, self.threshold = embeddings, order, threshold
        lists = max(1, min(int(LISTS_PER_ROOT * len(order) ** 0.5), len(order) // TRAIN_PER_LIST))
        place = np.linspace(0, len(order) - 1, min(TRAIN_PER_LIST * lists, len(order))).astype(np.int64)
        self.index = faiss.index_factory(embeddings.shape[1], f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
        self.index.cp.min_points_per_centroid = 1  # fewer rows than one list wants: no warning
        self.index.train(embeddings[order[place]])
        self.index.nprobe = PROBES
        self.kept = np.empty(0, dtype=np.int64)

    def near(self, block: Array) -> Array:
        """See _Kept. The nearest of what the index finds decides."""
        nearest = self.index.search(self.embeddings[self.order[block]], 1)[1][:, 0]
        row = np.flatnonzero(nearest >= 0)  # -1: the lists that were searched are empty
        near = np.zeros(len(block), dtype=bool)
        near[row] = similar(
            self.embeddings, self.order[block[row]], self.order[self.kept[nearest[row]]], self.threshold
        )
        return near

    def add(self, block: Array) -> None:
        """See _Kept."""
        self.index.add(self.embeddings[self.order[block]])
        self.kept = np.concatenate([self.kept, block])
