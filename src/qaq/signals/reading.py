"""Texts through the body of a model: batches of similar length under a budget of tokens, padded on the right.

A text comes out as it does alone, to rounding: attention is masked, positions count from its first token, and what is made of
the hidden states is reduced to one row a text in float32, whatever the weights' format.

What all texts open with can be read once: its keys and values are kept, and what is made of a text comes from the tokens behind.

Letters: B texts of a batch, T tokens of the longest, P tokens of the opening, G key heads, D width, K numbers a text is reduced
to.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from qaq import models
from qaq.hardware import default_tokens_per_batch

log = logging.getLogger(__name__)

_LEAST = 2 / 3  # of the longest text's tokens has the shortest of a batch: the rest of it is padding

Reduce = Callable[[Any, torch.Tensor], torch.Tensor]  # (the body's output, mask [B, T] of its tokens) -> [B, K]


class Reader:
    """A model's body on its device. `signal`: the section of the configuration, for messages.

    `tokens_per_batch` counts padding; a longer text is a batch of its own. None: as the device allows. It is halved, for good,
    when a GPU runs out of memory, and may not change a result beyond rounding.
    """

    def __init__(self, body: Any, pad: int | None, tokens_per_batch: int | None, signal: str) -> None:
        self.body, self.pad, self.signal = body, pad or 0, signal
        self.tokens_per_batch = tokens_per_batch or default_tokens_per_batch(body)
        self.opening: list[int] = []
        self.states: list[
            tuple[torch.Tensor, torch.Tensor]
        ] = []  # keys and values [1, G, P, D] of the opening, by layer
        if getattr(body.config, "use_cache", False):
            body.config.use_cache = False  # nothing is continued: keys and values would only fill the memory

    @torch.inference_mode()
    def open_with(self, opening: list[int], text: list[int]) -> None:
        """From now on read `opening` once for all texts that begin with it, if the end of `text`, one of those, comes out as it does
        when all of it is read. `reduce` may look at the end of a text only."""
        cache, alone = DynamicCache(config=self.body.config), self._batch([text], last, False)
        if not opening or any(type(layer) is not DynamicLayer for layer in cache.layers):
            return  # layers that forget (a sliding window) or keep something else than keys and values
        self.body(input_ids=torch.tensor([opening], device=self.body.device), past_key_values=cache)
        self.opening, self.states = opening, [(layer.keys, layer.values) for layer in cache.layers]
        error, size = (torch.linalg.vector_norm(x) for x in (self._batch([text], last, True) - alone, alone))
        if error > size * (1e-3 if self.body.dtype == torch.float32 else 0.1):
            log.warning(
                "%s reads on from what it kept otherwise than in one go: the prompt is read with every text",
                type(self.body).__name__,
            )
            self.opening, self.states = [], []

    @torch.inference_mode()
    def read(self, rows: Sequence[list[int]], ids: Sequence[str], reduce: Reduce) -> torch.Tensor:
        """What `reduce` makes of each row of tokens, float32 [rows, K] on the CPU, in their order; `ids` name them.

        ValueError for a row without a token or a result that is no number; MemoryError for one that does not fit alone.
        """
        if not all(rows):
            empty = next(id for id, row in zip(ids, rows, strict=True) if not row)
            raise ValueError(f"signals.{self.signal}: the text of {empty} has no token")
        opens = [self._opens(row) for row in rows]
        left = [len(row) - len(self.opening) * opened for row, opened in zip(rows, opens, strict=True)]  # to read
        order = sorted(range(len(rows)), key=lambda i: (opens[i], -left[i]))  # what does not fit fails at once
        found: list[torch.Tensor] = []
        while len(found) < len(rows):
            first = order[len(found)]
            batch = order[len(found) :][: self._fitting(len(rows[first]))]
            batch = [i for i in batch if opens[i] is opens[first] and left[i] >= left[first] * _LEAST]
            try:
                found += self._batch([rows[i] for i in batch], reduce, opens[first])
            except torch.OutOfMemoryError:
                self._halve([len(rows[i]) for i in batch], ids[first])
        return self._checked(found, [ids[i] for i in order])[_inverse(order)]

    def _opens(self, row: list[int]) -> bool:
        """Whether the row goes on behind the opening, at positions that are the same without it."""
        size = len(self.opening)
        return 0 < size < len(row) and row[:size] == self.opening and not models.stretches(self.body.config, len(row))

    def _fitting(self, longest: int) -> int:
        return 1 if models.stretches(self.body.config, longest) else max(1, self.tokens_per_batch // longest)

    def _batch(self, rows: list[list[int]], reduce: Reduce, opens: bool) -> torch.Tensor:
        rows = [row[len(self.opening) :] for row in rows] if opens else rows
        longest, device = max(map(len, rows)), self.body.device
        ids_BT = torch.tensor([row + [self.pad] * (longest - len(row)) for row in rows], device=device)
        mask_BT = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
        seen_BS, before = mask_BT, {}
        if opens:
            seen_BS = torch.cat([mask_BT.new_ones(len(rows), len(self.opening)), mask_BT], 1)
            before = {"past_key_values": self._cache(len(rows))}
        return reduce(self.body(input_ids=ids_BT, attention_mask=seen_BS, **before), mask_BT).float().cpu()

    def _cache(self, size_B: int) -> DynamicCache:
        cache = DynamicCache(config=self.body.config)
        for layer, (keys_1GPD, values_1GPD) in enumerate(self.states):
            cache.update(keys_1GPD.expand(size_B, -1, -1, -1), values_1GPD.expand(size_B, -1, -1, -1), layer)
        return cache

    def _halve(self, lengths: list[int], longest: str) -> None:
        if len(lengths) == 1:
            raise MemoryError(f"{longest}: {lengths[0]} tokens do not fit the device's memory on their own: lower signals."
                              f"{self.signal}.max_length, or use a smaller dtype or a larger device")  # fmt: skip
        torch.cuda.empty_cache()
        self.tokens_per_batch = lengths[0] * len(lengths) // 2
        log.warning("out of memory: going on with signals.%s.tokens_per_batch=%d", self.signal, self.tokens_per_batch)

    def _checked(self, found: list[torch.Tensor], ids: list[str]) -> torch.Tensor:
        if not found:
            return torch.empty(0, 0)
        values = torch.stack(found)
        wrong = (~values.isfinite().all(dim=1)).nonzero()[:, 0].tolist()
        if wrong:
            raise ValueError(f"what {type(self.body).__name__} makes of {len(wrong)} texts, the first of them {ids[wrong[0]]}, is no "
                             f"number in {self.body.dtype}: use signals.{self.signal}.dtype=bfloat16 or float32")  # fmt: skip
        return values


def last(output: Any, mask_BT: torch.Tensor) -> torch.Tensor:
    """The states of each text's last token, float32 [B, D]."""
    hidden_BTD, last_B = output.last_hidden_state, mask_BT.sum(1) - 1
    return hidden_BTD[torch.arange(len(last_B), device=last_B.device), last_B].float()


def unit(vectors_BD: torch.Tensor) -> torch.Tensor:
    """The vectors at length 1."""
    return torch.nn.functional.normalize(vectors_BD, dim=1)


def _inverse(order: list[int]) -> torch.Tensor:
    places = torch.empty(len(order), dtype=torch.long)
    places[torch.tensor(order, dtype=torch.long)] = torch.arange(len(order))
    return places


def limit(body: Any, max_length: int | None) -> int:
    """The most tokens of a text: `max_length`, or the model's window if that is shorter."""
    table = getattr(getattr(body, "embeddings", None), "position_embeddings", None)
    # RoBERTa counts positions from behind its padding mark
    reserved = 0 if getattr(table, "padding_idx", None) is None else table.padding_idx + 1
    return min(models.window(body.config) - reserved, max_length or models.window(body.config))


def encode(tokenizer: Any, texts: list[str], longest: int) -> tuple[list[list[int]], list[bool]]:
    """(token ids with the tokenizer's own marks, whether the text was cut to fit `longest` tokens) of each text."""
    rows = tokenizer(texts, verbose=False)["input_ids"] if texts else []
    cut = [len(row) > longest for row in rows]
    for i in [i for i, over in enumerate(cut) if over]:
        rows[i] = tokenizer(texts[i], truncation=True, max_length=longest)["input_ids"]
    return rows, cut
