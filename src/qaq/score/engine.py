"""The summed negative log-likelihood of every target: as few operations as the hardware can be given, and exact.

- The model's body reads the tokens that all texts of a pass share (system turn, instruction) once, not once a text.
- A batch, texts of similar length under a budget of tokens, is one sequence almost without padding (`attention.py`).
- The vocabulary projection runs only where a target token is predicted, in chunks, so no [N, V] tensor ever exists.
- Nothing waits for the device inside a shard: likelihoods stay there and come over together.
- They are float32 and summed in float64, in order, whatever the model's format.

Shapes: N tokens of a batch, P shared tokens, D hidden width, V vocabulary, M target tokens, S targets of a batch; (B, T) a
rectangle of B texts of T tokens.
"""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, DynamicCache

from qaq import models
from qaq.score.attention import KeysValues, NotOurs, Rectangles, attend
from qaq.score.texts import Texts

log = logging.getLogger(__name__)

AttentionInterface.register("qaq", attend)

_LOGITS_AT_ONCE = 2**24  # elements of the [chunk, V] logits: 64 MiB in float32


class Engine:
    """One model reading the texts of one pass.

    `tokens_per_batch` bounds the tokens of a batch (a longer text is a batch of its own). It is halved, for good, when
    an accelerator runs out of memory. Neither it nor the order of rows may change a sum beyond rounding.
    """

    def __init__(self, model: Any, texts: Texts, rows: np.ndarray, tokens_per_batch: int) -> None:
        self.model, self.texts = model, texts
        self.attention, self.shared, self.cache = "sdpa" if model._supports_sdpa else "eager", 0, None
        if len(rows):
            self._try_packing(rows)
        self.packs = self.attention == "qaq"
        self.tokens_per_batch = tokens_per_batch if self.packs else 1

    @torch.inference_mode()
    def _try_packing(self, rows: np.ndarray) -> None:
        """Read many texts as one sequence, and behind the opening they share, if that comes out as each text read alone.

        Found by trying: two texts, cut short behind the opening. ValueError for a model whose likelihoods would be wrong.
        """
        model, texts, opening = self.model, self.texts, self.texts.shared(rows)
        theirs, name = self.attention, type(model).__name__
        model.set_attn_implementation(theirs)
        tried = [texts.read(rows[place])[: len(opening) + size] for place, size in ((0, 24), (-1, 16))]
        _check(model, tried[0])
        if not _sees_all(model, int(texts.length[rows].max())) or not _packs(model, theirs, tried, 0, None):
            log.warning(
                "%s does not read these texts side by side as it reads each: one at a time, which is slower", name
            )
            return
        self.attention = "qaq"
        if len(opening):
            cache = _read_shared(model, opening)
            if _packs(model, theirs, tried, len(opening), cache):
                self.shared, self.cache = len(opening), cache
            else:
                log.warning(
                    "%s keeps other keys and values than it uses: the shared opening is read with every text", name
                )

    @torch.inference_mode()
    def sums(self, rows: np.ndarray, done: Callable[[int], None] = lambda tokens: None) -> np.ndarray:
        """Summed NLL (nats), float64 [rows, targets], of the texts at `rows`; `done` hears of tokens as they are read."""
        self.model.set_attn_implementation(self.attention)  # another pass over this model may have chosen another
        result = np.empty((len(rows), self.texts.spans.shape[1]))
        lengths = self.texts.length[rows] - self.shared
        order = np.argsort(-lengths, kind="stable")
        pending: list[tuple[np.ndarray, np.ndarray, torch.Tensor]] = []
        first = 0
        while first < len(order):
            batch = order[first : first + fitting(lengths[order[first:]], self.tokens_per_batch)]
            try:
                pending.append((batch, *self._batch_nll(rows[batch])))
            except torch.OutOfMemoryError:
                self._halve(batch, rows)
                continue
            first += len(batch)
            done(int(self.texts.length[rows[batch]].sum()))
        for batch, owner, nll_M in pending:  # summed here: a GPU adds up in whatever order its threads come
            sums_S = np.bincount(owner, nll_M.cpu().numpy(), len(batch) * result.shape[1])
            result[batch] = sums_S.reshape(len(batch), -1)
        return result

    def _halve(self, batch: np.ndarray, rows: np.ndarray) -> None:
        """Half the budget that just failed; MemoryError, naming the text, when one alone does not fit."""
        if len(batch) == 1:
            row = rows[batch[0]]
            raise MemoryError(f"{self.texts.ids[row]}: {self.texts.length[row]} tokens do not fit the device's memory on "
                              "their own: lower scorer.max_length, or use a smaller dtype or a larger device")  # fmt: skip
        torch.cuda.empty_cache()
        self.tokens_per_batch = int((self.texts.length[rows[batch]] - self.shared).sum()) // 2
        log.warning("out of memory: going on with scorer.tokens_per_batch=%d", self.tokens_per_batch)

    def _batch_nll(self, rows: np.ndarray) -> tuple[np.ndarray, torch.Tensor]:
        """The batch's target tokens: which target each belongs to [M], row after row, and its NLL, float32 [M] on the device."""
        texts, device = self.texts, self.model.device
        lengths = np.maximum(texts.length[rows] - self.shared - 1, 1)  # nothing is predicted from the last token
        rectangles = _rectangles(lengths)
        starts = _starts(rectangles)
        ids, positions = (np.zeros(sum(b * t for b, t in rectangles), np.int64) for _ in range(2))
        for row, start, length in zip(rows, starts, lengths, strict=True):
            ids[start : start + length] = texts.read(row)[self.shared : self.shared + length]
            positions[start : start + length] = np.arange(self.shared, self.shared + length)
        place, label, owner = self._targets(rows, starts)
        hidden_ND = self._body(_send(ids, device), _send(positions, device), rectangles)
        return owner, _token_nll(self.model, hidden_ND[_send(place, device)], _send(label, device))

    def _targets(self, rows: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of every target token: the place in the batch that predicts it, its id, and its target's number."""
        spans = self.texts.spans[rows].reshape(-1, 2).astype(np.int64)
        sizes = spans[:, 1] - spans[:, 0]
        owner = np.repeat(np.arange(len(spans)), sizes)
        column = spans[owner, 0] + np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        text = owner // self.texts.spans.shape[1]
        label = self.texts.tokens[self.texts.start[rows][text] + column].astype(np.int64)
        return starts[text] + column - self.shared - 1, label, owner

    def _body(self, ids_N: torch.Tensor, positions_N: torch.Tensor, rectangles: Rectangles) -> torch.Tensor:
        """Hidden states [N, D]."""
        packed = {"rectangles": rectangles, "shared": self.cache} if self.packs else {}
        read = self.model.get_decoder()(
            input_ids=ids_N[None], position_ids=positions_N[None], use_cache=False, **packed
        )
        return read.last_hidden_state[0]


def _rectangles(lengths: np.ndarray) -> Rectangles:
    """(texts, tokens) of blocks of texts of almost one length, `lengths` falling; at most 1/16 of a row is padding."""
    found: list[tuple[int, int]] = []
    for length in lengths.tolist():
        if found and length >= found[-1][1] * 15 / 16:
            found[-1] = (found[-1][0] + 1, found[-1][1])
        else:
            found.append((1, length))
    return tuple(found)


def _starts(rectangles: Rectangles) -> np.ndarray:
    widths = np.concatenate([np.full(size, tokens) for size, tokens in rectangles])
    return np.cumsum(widths) - widths


def _send(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """On the device, without waiting for what it is doing."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def fitting(lengths: np.ndarray, tokens_per_batch: int) -> int:
    """How many of the first texts, with these lengths, make a batch of at most `tokens_per_batch`; at least one."""
    total = np.cumsum(lengths[: tokens_per_batch + 1])
    return max(1, int(np.searchsorted(total, tokens_per_batch, side="right")))


def _check(model: Any, tokens: np.ndarray) -> None:
    """ValueError unless a token sees only those before it, and the logits are the projection of the hidden states, and
    numbers."""
    ids_1N, decoder = torch.from_numpy(tokens)[None].to(model.device), model.get_decoder()
    logits_1NV = model(input_ids=ids_1N, use_cache=False).logits
    if not logits_1NV.isfinite().all():
        raise ValueError(f"{type(model).__name__} gives logits that are no numbers in {model.dtype}: use scorer.dtype=bfloat16 "
                         "or float32")  # fmt: skip
    before = max(len(tokens) // 2, 1)  # one token less would hardly show behind a long opening
    hidden_1ND, opening_1ND = (decoder(input_ids=ids_1N[:, :size], use_cache=False).last_hidden_state
                               for size in (len(tokens), before))  # fmt: skip
    if not _alike(hidden_1ND[:, :before], opening_1ND, _within(model)):
        raise ValueError(f"{type(model).__name__} lets a token see those behind it: what it makes of a text is no likelihood, so it "
                         "cannot be a scorer")  # fmt: skip
    if not _alike(model.get_output_embeddings()(hidden_1ND), logits_1NV, 1e-4):  # the same products: no rounding
        raise ValueError(f"{type(model).__name__} changes its logits after the projection, which this engine does not "
                         "know; its likelihoods would be wrong, so it cannot be a scorer yet")  # fmt: skip


def _packs(model: Any, theirs: str, texts: list[np.ndarray], shared: int, cache: list[KeysValues] | None) -> bool:
    """Whether texts read as one sequence behind `shared` tokens of `cache` come out as each does alone."""
    ids = [torch.from_numpy(text).to(model.device) for text in texts]
    decoder = model.get_decoder()
    alone_ND = torch.cat([decoder(input_ids=one[None], use_cache=False).last_hidden_state[0, shared:] for one in ids])
    places_N = torch.cat([torch.arange(shared, len(one), device=model.device) for one in ids])
    model.set_attn_implementation("qaq")
    try:
        packed_ND = decoder(input_ids=torch.cat([one[shared:] for one in ids])[None], position_ids=places_N[None],
                            use_cache=False, rectangles=tuple((1, len(one) - shared) for one in ids),
                            shared=cache).last_hidden_state[0]  # fmt: skip
    except NotOurs:
        return False
    finally:
        model.set_attn_implementation(theirs)
    return _alike(packed_ND, alone_ND, _within(model))


def _within(model: Any) -> float:
    """The relative error that is rounding, in the model's format."""
    return 1e-3 if model.dtype == torch.float32 else 0.1


def _alike(ours: torch.Tensor, theirs: torch.Tensor, within: float) -> bool:
    """Whether the relative error (Frobenius) is at most `within`."""
    error, size = (float(torch.linalg.vector_norm(x.float())) for x in (ours - theirs, theirs))
    return error <= size * within


def _sees_all(model: Any, longest: int) -> bool:
    """Whether every token of a text of `longest` tokens sees all tokens before it, and from a position that does not depend
    on how long the other texts are."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    if not kinds <= {"full_attention", "sliding_attention"} or (window is not None and longest > window):
        return False
    return not models.stretches(model.config, longest)


@torch.inference_mode()
def _read_shared(model: Any, tokens: np.ndarray) -> list[KeysValues]:
    """Keys and values of the shared tokens in every layer."""
    cache = DynamicCache()
    ids_1P = torch.from_numpy(tokens)[None].to(model.device)
    model.get_decoder()(input_ids=ids_1P, past_key_values=cache, use_cache=True)
    return [(layer.keys, layer.values) for layer in cache.layers]


def _token_nll(model: Any, hidden_MD: torch.Tensor, labels_M: torch.Tensor) -> torch.Tensor:
    """NLL (nats) of each label, float32 [M]; at most `_LOGITS_AT_ONCE` logits exist at a time."""
    head = model.get_output_embeddings()
    chunk = max(1, _LOGITS_AT_ONCE // head.weight.shape[0])
    nll_M = torch.empty(len(labels_M), device=hidden_MD.device)
    for first in range(0, len(labels_M), chunk):
        part = slice(first, first + chunk)
        logits_CV = head(hidden_MD[part]).float()
        nll_M[part] = torch.nn.functional.cross_entropy(logits_CV, labels_M[part], reduction="none")
    return nll_M
