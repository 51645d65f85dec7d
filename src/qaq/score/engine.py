"""The summed negative log-likelihood of every target: as few operations as the hardware can be given, and exact.

- The model's body reads the tokens that all texts of a pass share (system turn, instruction) once, not once a text.
- Batches hold texts of similar length under a budget of tokens; padding stands on the right, where a causal model cannot
  see it.
- The vocabulary projection runs only where a target token is predicted, in chunks, so no [B, T, V] tensor ever exists.
- Nothing waits for the device inside a shard: sums stay there and come over together.
- Sums are float32 or wider whatever the model's format.

Shapes: B sequences, T tokens, P shared tokens, D hidden width, V vocabulary, N target tokens, S targets of a batch.
"""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from qaq.score.texts import Texts

log = logging.getLogger(__name__)

_LOGITS_AT_ONCE = 2**24  # elements of the [chunk, V] logits: 64 MiB in float32


class Engine:
    """One model reading the texts of one pass.

    `tokens_per_batch` bounds B x T of a batch (a longer text is a batch of its own). It is halved, for good, when the
    device runs out of memory. Neither it nor the order of rows may change a sum beyond rounding.
    """

    def __init__(self, model: Any, texts: Texts, rows: np.ndarray, tokens_per_batch: int) -> None:
        self.model, self.texts, self.tokens_per_batch = model, texts, tokens_per_batch
        with torch.inference_mode():
            _check_head(model)
            self.shared, self.cache = _read_shared(model, texts.shared(rows)) if len(rows) else (0, None)

    @torch.inference_mode()
    def sums(self, rows: np.ndarray, done: Callable[[int], None] = lambda tokens: None) -> np.ndarray:
        """Summed NLL (nats), float64 [rows, targets], of the texts at `rows`; `done` hears of tokens as they are read."""
        result = np.empty((len(rows), self.texts.spans.shape[1]))
        lengths = self.texts.length[rows] - self.shared
        order = np.argsort(-lengths, kind="stable")
        pending: list[tuple[np.ndarray, torch.Tensor]] = []
        first = 0
        while first < len(order):
            batch = order[first : first + fitting(int(lengths[order[first]]), self.tokens_per_batch)]
            try:
                pending.append((batch, self._batch_sums(rows[batch])))
            except torch.OutOfMemoryError:
                self._halve(batch, rows)
                continue
            first += len(batch)
            done(int(self.texts.length[rows[batch]].sum()))
        for batch, sums_S in pending:
            result[batch] = sums_S.cpu().numpy().reshape(len(batch), -1)
        return result

    def _halve(self, batch: np.ndarray, rows: np.ndarray) -> None:
        """Half the budget that just failed; MemoryError, naming the text, when one alone does not fit."""
        if len(batch) == 1:
            row = rows[batch[0]]
            raise MemoryError(f"{self.texts.ids[row]}: {self.texts.length[row]} tokens do not fit the device's memory on "
                              "their own: lower scorer.max_length, or use a smaller dtype or a larger device")  # fmt: skip
        torch.cuda.empty_cache()
        self.tokens_per_batch = len(batch) * int(self.texts.length[rows[batch]].max() - self.shared) // 2
        log.warning("out of memory: going on with scorer.tokens_per_batch=%d", self.tokens_per_batch)

    def _batch_sums(self, rows: np.ndarray) -> torch.Tensor:
        """Sums of the batch's targets, row after row: float64 [S] on the device."""
        device = self.model.device
        ids_BT = _padded([self.texts.read(row)[self.shared :] for row in rows]).to(device)
        hidden_BTD = self._body(ids_BT)
        where = (torch.from_numpy(part).to(device) for part in _positions(self.texts.spans[rows] - self.shared))
        row_N, column_N, owner_N = where
        hidden_ND = hidden_BTD[row_N, column_N - 1]  # the token at column c is predicted at column c - 1
        nll_N = _token_nll(self.model, hidden_ND, ids_BT[row_N, column_N])
        sums_S = torch.zeros(len(rows) * self.texts.spans.shape[1], dtype=torch.float64, device=device)
        return sums_S.index_add_(0, owner_N, nll_N.double())

    def _body(self, ids_BT: torch.Tensor) -> torch.Tensor:
        if not self.shared:
            return self.model.get_decoder()(input_ids=ids_BT, use_cache=False).last_hidden_state
        size = ids_BT.shape[0]
        cache = DynamicCache([(k.expand(size, -1, -1, -1), v.expand(size, -1, -1, -1)) for k, v in self.cache])
        return self.model.get_decoder()(input_ids=ids_BT, past_key_values=cache, use_cache=True).last_hidden_state


def fitting(longest: int, tokens_per_batch: int) -> int:
    """How many texts of at most `longest` tokens make a batch: B x T <= tokens_per_batch, but at least one."""
    return max(1, tokens_per_batch // max(1, longest))


def default_tokens_per_batch(model: Any) -> int:
    """A budget for this device: on a GPU from the free memory, on a CPU what stays in its caches.

    SmolLM2 read 2,048 tokens at once as fast as 8,192 on two cores, in a quarter of the memory. On a GPU a token is taken
    to need 24 hidden vectors and 6 of the MLP's width (not measured yet), and half of the free memory is left free.
    """
    if model.device.type != "cuda":
        return 2048
    config = model.config.get_text_config()
    width = 24 * config.hidden_size + 6 * getattr(config, "intermediate_size", 4 * config.hidden_size)
    free, _ = torch.cuda.mem_get_info(model.device)
    return int(min(max(free / 2 / (width * model.dtype.itemsize), 2048), 2**17))


def _check_head(model: Any) -> None:
    """ValueError if the model changes its logits after the projection (scaling, soft-capping): ours would be wrong."""
    ids_1T = torch.arange(1, 9, device=model.device)[None] % model.config.get_text_config().vocab_size
    ours = model.get_output_embeddings()(model.get_decoder()(input_ids=ids_1T, use_cache=False).last_hidden_state)
    theirs = model(input_ids=ids_1T, use_cache=False).logits
    if not torch.allclose(ours.float(), theirs.float(), rtol=1e-2, atol=1e-2):
        raise ValueError(f"{type(model).__name__} changes its logits after the projection, which this engine does not "
                         "know; its likelihoods would be wrong, so it cannot be a scorer yet")  # fmt: skip


def _read_shared(model: Any, tokens: np.ndarray) -> tuple[int, list[tuple[torch.Tensor, torch.Tensor]] | None]:
    """Keys and values of the shared tokens in every layer, if the model keeps them in the plain way."""
    if len(tokens) < 1 or not _plain_attention(model):
        return 0, None
    cache = DynamicCache()
    ids_1P = torch.from_numpy(tokens)[None].to(model.device)
    model.get_decoder()(input_ids=ids_1P, past_key_values=cache, use_cache=True)
    return len(tokens), [(layer.keys, layer.values) for layer in cache.layers]


def _plain_attention(model: Any) -> bool:
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ["full_attention"])
    return kinds == {"full_attention"}


def _padded(sequences: list[np.ndarray]) -> torch.Tensor:
    out_BT = np.zeros((len(sequences), max(map(len, sequences))), np.int64)
    for row, sequence in enumerate(sequences):
        out_BT[row, : len(sequence)] = sequence
    return torch.from_numpy(out_BT)


def _positions(spans: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and target number of every target token of spans [B, targets, 2]."""
    flat = spans.reshape(-1, 2).astype(np.int64)
    sizes = flat[:, 1] - flat[:, 0]
    owner = np.repeat(np.arange(len(flat)), sizes)
    offset = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return owner // spans.shape[1], flat[owner, 0] + offset, owner


def _token_nll(model: Any, hidden_ND: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """NLL (nats) of each label, float32 [N]; at most `_LOGITS_AT_ONCE` logits exist at a time."""
    head = model.get_output_embeddings()
    chunk = max(1, _LOGITS_AT_ONCE // head.weight.shape[0])
    nll_N = torch.empty(len(labels_N), device=hidden_ND.device)
    for first in range(0, len(labels_N), chunk):
        part = slice(first, first + chunk)
        logits_CV = head(hidden_ND[part]).float()
        nll_N[part] = torch.nn.functional.cross_entropy(logits_CV, labels_N[part], reduction="none")
    return nll_N
