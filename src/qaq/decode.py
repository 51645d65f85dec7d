"""Decoding of many prompts on one device.

Own loop instead of `generate`: rows that have ended leave the batch and its cache at once, so a batch costs as much as its
unfinished rows. The cache has room to grow, where transformers' own copies all keys and values for every token: of SmolLM2's
steps with 41 and 82 replies that is a seventh and a fifth.

Letters: B rows still running, T positions so far, V vocabulary; G key heads, D width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 128  # tokens by which a cache grows

Choose = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]  # (logits [B, V], which rows [B], step) -> ids [B]


@dataclass(frozen=True)
class Reply:
    """New token ids of one prompt, without the end-of-turn mark; `capped` if it had to be stopped by the limit."""

    tokens: list[int]
    capped: bool


def batches(lengths: list[int], size: int) -> Iterator[list[int]]:
    """Indices in batches of up to `size` of similar length, longest first: what does not fit fails at once."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    for start in range(0, len(order), size):
        yield order[start : start + size]


def stopping(tokenizer: Any, ends: set[int], stops: tuple[str, ...]) -> Callable[[torch.Tensor], torch.Tensor]:
    """A rule over the new tokens [B, n] that tells which rows [B] have just ended. A stop text that begins with a line break
    and a fence may also come first, without the break: prompts end with one.

    Only the newest tokens are decoded, as many as the longest stop text has bytes: a token has at least one.
    """
    ends_E = torch.tensor(sorted(ends))
    width = max(len(stop.encode()) for stop in stops) + 1
    first = tuple(stop[1:] for stop in stops if stop.startswith("\n`"))

    def ended(new_BT: torch.Tensor) -> torch.Tensor:
        tails = tokenizer.batch_decode(new_BT[:, -width:], clean_up_tokenization_spaces=False)
        hits = [any(stop in tail for stop in stops) for tail in tails]
        if new_BT.shape[1] <= width:
            hits = [hit or tail.startswith(first) for hit, tail in zip(hits, tails, strict=True)]
        return torch.isin(new_BT[:, -1], ends_E) | torch.tensor(hits)

    return ended


def end_tokens(generation: Any, tokenizer: Any, tail: str) -> set[int]:
    """Ids that end a turn: the model's (of its generation config), the tokenizer's and the one with which the chat template
    closes an answer.

    The last is what a base model with a borrowed template learns to say.
    """
    configured = generation.eos_token_id
    ends = set(configured if isinstance(configured, list) else [configured]) | {tokenizer.eos_token_id}
    marks = [
        id for id in tokenizer(tail, add_special_tokens=False)["input_ids"] if id in tokenizer.added_tokens_decoder
    ]
    return {end for end in ends if end is not None} | set(marks[:1])  # a line break may stand before the mark


def most_likely(logits_BV: torch.Tensor, rows_B: torch.Tensor, step: int) -> torch.Tensor:
    """Greedy."""
    return logits_BV.argmax(-1)


def sampling(seeds: list[int], limit: int, temperature: float, top_p: float) -> Choose:
    """Nucleus sampling (Holtzman et al. 2020) in which row i draws from seeds[i] alone: neither the batch nor the order of rows
    changes what is drawn."""
    draws = [torch.rand(limit, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    draws_BT = torch.stack(draws)

    def choose(logits_BV: torch.Tensor, rows_B: torch.Tensor, step: int) -> torch.Tensor:
        chances_BV, ids_BV = torch.softmax(logits_BV.float() / temperature, -1).sort(
            stable=True, dim=-1, descending=True
        )
        upto_BV = chances_BV.cumsum(-1)
        nucleus_BV = upto_BV - chances_BV < top_p  # the most likely token is always in
        mass_B1 = (chances_BV * nucleus_BV).sum(-1, keepdim=True)
        place_B1 = (upto_BV <= draws_BT[rows_B, step, None].to(upto_BV.device) * mass_B1).sum(-1, keepdim=True)
        last_B1 = nucleus_BV.sum(-1, keepdim=True) - 1  # rounding may step over it
        return ids_BV.gather(-1, torch.minimum(place_B1, last_B1))[:, 0]

    return choose


@torch.inference_mode()
def replies(model: Any, prompts: list[list[int]], limits: list[int], pad: int, ended: Callable[[torch.Tensor], torch.Tensor],
            choose: Choose = most_likely) -> list[Reply]:  # fmt: skip
    """The continuation of each prompt, at most as many tokens as its limit; limits below 1 give none."""
    limit_B = torch.tensor(limits)
    new, counts = torch.full((len(prompts), max([1, *limits])), pad), limit_B.clamp(min=0)
    capped = torch.ones(len(prompts), dtype=torch.bool)
    rows_B = (limit_B > 0).nonzero()[:, 0]  # the prompts still running
    cache = roomy_cache(model)
    step_BT, mask_BT = _left_padded([prompts[i] for i in rows_B], pad)
    for count in range(1, new.shape[1] + 1):
        if not len(rows_B):
            break
        newest_B = choose(_logits(model, step_BT, mask_BT, cache), rows_B, count - 1).cpu()
        new[rows_B, count - 1] = newest_B
        ended_B = ended(new[rows_B, :count])
        counts[rows_B[ended_B]] = count
        capped[rows_B[ended_B]] = False
        going = _closed_up(~ended_B & (limit_B[rows_B] > count))
        if len(going) < len(rows_B):
            cache.batch_select_indices(going.to(model.device))
            rows_B, newest_B, mask_BT = rows_B[going], newest_B[going], mask_BT[going]
        step_BT = newest_B[:, None]
        mask_BT = torch.cat([mask_BT, torch.ones_like(step_BT)], dim=1)
    return [Reply(new[i, : counts[i]].tolist(), bool(capped[i])) for i in range(len(prompts))]


def _logits(model: Any, step_BT: torch.Tensor, mask_BT: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)[:, -step_BT.shape[1] :]
    where = model.device
    logits_B1V = model(input_ids=step_BT.to(where), attention_mask=mask_BT.to(where), past_key_values=cache,
                       position_ids=positions_BT.to(where), use_cache=True, logits_to_keep=1).logits  # fmt: skip
    return logits_B1V[:, -1]


def _left_padded(prompts: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, prompts), default=0)
    tokens_BT = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts])
    mask_BT = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    return tokens_BT, mask_BT


def _closed_up(going_B: torch.Tensor) -> torch.Tensor:
    """Places of the rows that go on, with the last ones moved into the gaps: as few rows as possible change their place."""
    count = int(going_B.sum())
    places = torch.arange(count)
    places[~going_B[:count]] = count + going_B[count:].nonzero()[:, 0]
    return places


class _Roomy(DynamicLayer):
    """Keys and values in front of a buffer that is larger, so that a token more is no copy of all."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any,
               **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        """Keys and values [B, G, T, D] with the new ones at the end."""
        held = self.get_seq_length()
        total = held + key_states.shape[2]
        if not held or total > self.buffers[0].shape[2]:
            self._grow(key_states, value_states, held, total + _ROOM)
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, held:total] = states
        self.keys, self.values = (buffer[:, :, :total] for buffer in self.buffers)
        return self.keys, self.values

    def _grow(self, key_states: torch.Tensor, value_states: torch.Tensor, held: int, room: int) -> None:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        larger = [s.new_empty(*s.shape[:2], room, s.shape[3]) for s in (key_states, value_states)]
        if held:
            for new, old in zip(larger, (self.keys, self.values), strict=True):
                new[:, :, :held] = old
        self.buffers = larger

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows; `_closed_up` made the indices, so those that move come from behind the rest."""
        held, here = self.get_seq_length(), torch.arange(len(indices), device=indices.device)
        moved = (indices != here).nonzero()[:, 0]
        for buffer in self.buffers:
            buffer[moved, :, :held] = buffer[indices[moved], :, :held]
        self.buffers = [buffer[: len(indices)] for buffer in self.buffers]
        self.keys, self.values = (buffer[:, :, :held] for buffer in self.buffers)


def roomy_cache(model: Any) -> DynamicCache:
    """An empty cache for the model; layers that keep all they saw get room to grow."""
    cache = DynamicCache(config=model.config)
    cache.layers = [_Roomy() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
