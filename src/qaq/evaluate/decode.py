"""Greedy decoding of many prompts on one device.

Own loop instead of `generate`: rows that have ended leave the batch and its cache at once, so a batch costs as much
as its unfinished rows. Letters: B rows still running, T positions so far, V vocabulary.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache


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
    """A rule over the new tokens [B, n] that tells which rows [B] have just ended.

    Only the newest tokens are decoded, as many as the longest stop text has bytes: a token has at least one.
    """
    ends_E = torch.tensor(sorted(ends))
    width = max(len(stop.encode()) for stop in stops) + 1

    def ended(new_BT: torch.Tensor) -> torch.Tensor:
        start = "\n" if new_BT.shape[1] <= width else ""  # the prompt ends with a line break
        tails = tokenizer.batch_decode(new_BT[:, -width:], clean_up_tokenization_spaces=False)
        hit_B = torch.tensor([any(stop in start + tail for stop in stops) for tail in tails])
        return torch.isin(new_BT[:, -1], ends_E) | hit_B

    return ended


def end_tokens(model: Any, tokenizer: Any, tail: str) -> set[int]:
    """Ids that end a turn: the model's, the tokenizer's and the one with which the chat template closes an answer.

    The last is what a base model with a borrowed template learns to say.
    """
    configured = model.generation_config.eos_token_id
    ends = set(configured if isinstance(configured, list) else [configured]) | {tokenizer.eos_token_id}
    marks = [
        id for id in tokenizer(tail, add_special_tokens=False)["input_ids"] if id in tokenizer.added_tokens_decoder
    ]
    return {end for end in ends if end is not None} | set(marks[:1])  # a line break may stand before the mark


@torch.inference_mode()
def greedy(model: Any, prompts: list[list[int]], limits: list[int], pad: int,
           ended: Callable[[torch.Tensor], torch.Tensor]) -> list[Reply]:  # fmt: skip
    """The most likely continuation of each prompt, at most as many tokens as its limit; limits below 1 give none."""
    limit_B = torch.tensor(limits)
    new, counts = torch.full((len(prompts), max([1, *limits])), pad), limit_B.clamp(min=0)
    capped = torch.ones(len(prompts), dtype=torch.bool)
    rows_B = (limit_B > 0).nonzero()[:, 0]  # the prompts still running
    cache = DynamicCache(config=model.config)
    step_BT, mask_BT = _left_padded([prompts[i] for i in rows_B], pad)
    for count in range(1, new.shape[1] + 1):
        if not len(rows_B):
            break
        newest_B = _newest(model, step_BT, mask_BT, cache)
        new[rows_B, count - 1] = newest_B
        ended_B = ended(new[rows_B, :count])
        counts[rows_B[ended_B]] = count
        capped[rows_B[ended_B]] = False
        going = (~ended_B & (limit_B[rows_B] > count)).nonzero()[:, 0]
        if len(going) < len(rows_B):
            cache.batch_select_indices(going.to(model.device))
            rows_B, newest_B, mask_BT = rows_B[going], newest_B[going], mask_BT[going]
        step_BT = newest_B[:, None]
        mask_BT = torch.cat([mask_BT, torch.ones_like(step_BT)], dim=1)
    return [Reply(new[i, : counts[i]].tolist(), bool(capped[i])) for i in range(len(prompts))]


def _newest(model: Any, step_BT: torch.Tensor, mask_BT: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
    positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)[:, -step_BT.shape[1] :]
    where = model.device
    logits_B1V = model(input_ids=step_BT.to(where), attention_mask=mask_BT.to(where), past_key_values=cache,
                       position_ids=positions_BT.to(where), use_cache=True, logits_to_keep=1).logits  # fmt: skip
    return logits_B1V[:, -1].argmax(-1).cpu()


def _left_padded(prompts: list[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, prompts), default=0)
    tokens_BT = torch.tensor([[pad] * (longest - len(p)) + p for p in prompts])
    mask_BT = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    return tokens_BT, mask_BT
