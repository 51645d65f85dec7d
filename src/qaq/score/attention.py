"""Causal attention over texts that lie one after the other in one long sequence, none seeing another.

Everything but attention works token by token, so a batch is one sequence without padding between texts of different
length. Its texts come as rectangles, texts of (almost) one length; attention takes them rectangle by rectangle. All of them
see the opening they share, whose keys and values were read once.

transformers calls `attend` in every layer (AttentionInterface) and hands our two arguments through.

Shapes: N tokens of the batch; B texts of T tokens make a rectangle; P shared tokens, S = P + T; H query heads, G key heads,
D width.
"""

import functools
from typing import Any

import torch
from torch.nn.attention.bias import causal_lower_right

# On a CPU queries are taken in blocks: no block looks at keys behind its last row, and the scores of a long text stay small.
_BLOCK = 96  # queries: 512 take half again as long on texts of 250 tokens, twice as long on 400
_SEEN_AGAIN = 2048  # tokens of a text whose masks are kept: its shape comes again; a longer one's would fill the memory
_SCORES_AT_ONCE = 2**26  # elements, of all heads: 256 MiB in float32

Rectangles = tuple[tuple[int, int], ...]  # (B, T) of each, in the order of the batch
KeysValues = tuple[torch.Tensor, torch.Tensor]  # of one layer, each [1, G, P, D]


class NotOurs(Exception):
    """The model's attention is of another kind."""


def attend(module: Any, query_1HND: torch.Tensor, key_1GND: torch.Tensor, value_1GND: torch.Tensor, attention_mask: None,
           scaling: float, rectangles: Rectangles | None = None, shared: list[KeysValues] | None = None,
           softcap: float | None = None, s_aux: torch.Tensor | None = None, **_: Any) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Output [1, N, H, D of the values]. Without rectangles the sequence is one text. NotOurs for scores that are capped or
    share their softmax with a sink, and for shared keys of another shape."""
    before = shared[module.layer_idx] if shared else (None, None)
    other = (
        shared and before[0].shape[1::2] != key_1GND.shape[1::2]
    )  # what is kept is not what is used (DeepSeek's MLA)
    if softcap is not None or s_aux is not None or other:
        raise NotOurs
    out_1NHD = query_1HND.new_empty(*query_1HND.transpose(1, 2).shape[:3], value_1GND.shape[3])
    first = 0
    for size_B, new_T in rectangles or ((1, query_1HND.shape[2]),):
        part = slice(first, first + size_B * new_T)
        query, own_key, own_value = (_texts(x[0, :, part], size_B) for x in (query_1HND, key_1GND, value_1GND))
        key, value = _after(before[0], own_key), _after(before[1], own_value)
        found_BHTD = (
            _products(query, key, value, scaling) if query.device.type == "cpu" else _fused(query, key, value, scaling)
        )
        out_1NHD[0, part].view(size_B, new_T, *out_1NHD.shape[2:]).copy_(found_BHTD.transpose(1, 2))
        first = part.stop
    return out_1NHD, None


def _texts(heads_HMD: torch.Tensor, size_B: int) -> torch.Tensor:
    """[H, B * T, D] as [B, H, T, D], without a copy."""
    return heads_HMD.unflatten(1, (size_B, -1)).transpose(0, 1)


def _after(shared_1GPD: torch.Tensor | None, own_BGTD: torch.Tensor) -> torch.Tensor:
    if shared_1GPD is None:
        return own_BGTD
    return torch.cat([shared_1GPD.expand(len(own_BGTD), -1, -1, -1), own_BGTD], dim=2)


def _fused(query_BHTD: torch.Tensor, key_BGSD: torch.Tensor, value_BGSD: torch.Tensor, scaling: float) -> torch.Tensor:
    """PyTorch's flash or memory-efficient kernel."""
    mask = causal_lower_right(query_BHTD.shape[2], key_BGSD.shape[2])
    grouped = query_BHTD.shape[1] != key_BGSD.shape[1]
    return torch.nn.functional.scaled_dot_product_attention(query_BHTD, key_BGSD, value_BGSD, attn_mask=mask, scale=scaling,
                                                            enable_gqa=grouped)  # fmt: skip


def _products(
    query_BHTD: torch.Tensor, key_BGSD: torch.Tensor, value_BGSD: torch.Tensor, scaling: float
) -> torch.Tensor:
    """Two matrix products and a float32 softmax: on short texts a fifth of the time of PyTorch's fused CPU kernel."""
    size_B, heads_H, new_T, _ = query_BHTD.shape
    groups_G, total_S = key_BGSD.shape[1:3]
    block = max(1, min(_BLOCK, _SCORES_AT_ONCE // (size_B * heads_H * total_S)))
    found = []
    for first in reversed(range(0, new_T, block)):  # falling sizes: each fits where the one before it was
        last = min(first + block, new_T)
        seen = total_S - new_T + last
        query = query_BHTD[:, :, first:last].reshape(
            size_B * groups_G, -1, query_BHTD.shape[3]
        )  # heads that share keys, stacked
        key, value = (x[:, :, :seen].reshape(size_B * groups_G, seen, x.shape[3]) for x in (key_BGSD, value_BGSD))
        mask_of = _mask if new_T <= _SEEN_AGAIN else _mask.__wrapped__
        mask = mask_of(last - first, seen, heads_H // groups_G, query.dtype)
        scores = torch.baddbmm(mask, query, key.transpose(1, 2), alpha=scaling)
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(query.dtype)
        found.append((weights @ value).view(size_B, heads_H, last - first, -1))
    return found[0] if len(found) == 1 else torch.cat(found[::-1], dim=2)


@functools.lru_cache(maxsize=256)  # a batch has dozens, and every layer asks for them
def _mask(rows: int, seen: int, times: int, dtype: torch.dtype) -> torch.Tensor:
    """[times * rows, seen]: 0 where the last `rows` of `seen` tokens may look, -inf behind them."""
    return torch.full((rows, seen), -torch.inf, dtype=dtype).triu_(seen - rows + 1).repeat(times, 1)
