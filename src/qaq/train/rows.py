"""Pairs as token rows, and what happens to those longer than max_length.

A row is the conversation that scoring and evaluation use too (`qaq.chat`): the same parts, tokenised one by one. The
loss runs over the answer and the template's closing text, so the model also learns to stop. Fitting to max_length
happens here, not in TRL, which would cut and drop without a word.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qaq import chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PAIRS_AT_ONCE = 1024


@dataclass(frozen=True)
class Row:
    """One conversation in tokens: the first `prompt` of `ids` are read, the rest are learned."""

    id: str
    ids: list[int]
    prompt: int


def encode(tokenizer: "PreTrainedTokenizerBase", pairs: list[dict[str, str]], system: str | None) -> Iterator[Row]:
    """A row for each pair {id, query, answer}, in their order, at full length."""
    frame = chat.frame(tokenizer, system)
    head, middle, tail = chat.encode(tokenizer, [frame.head, frame.end + frame.opener, frame.tail])
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        some = pairs[start : start + _PAIRS_AT_ONCE]
        queries = chat.encode(tokenizer, [pair["query"] for pair in some])
        answers = chat.encode(tokenizer, [pair["answer"] for pair in some])
        for pair, query, answer in zip(some, queries, answers, strict=True):
            prompt = head + query + middle
            yield Row(pair["id"], prompt + answer + tail, len(prompt))


def fit_length(rows: Iterable[Row], limit: int, too_long: str) -> tuple[list[Row], list[dict[str, Any]]]:
    """(rows of at most `limit` tokens, a line {id, tokens, what} for each row that was dropped or truncated).

    `tokens` is the row's full length. A row that would keep nothing to learn is dropped whatever `too_long` says.
    ValueError if no row is left.
    """
    kept: list[Row] = []
    listed: list[dict[str, Any]] = []
    shortest = None
    for row in rows:
        shortest = min(shortest or len(row.ids), len(row.ids))
        fits = len(row.ids) <= limit
        if min(len(row.ids), limit) <= row.prompt or (not fits and too_long == "drop"):
            listed.append({"id": row.id, "tokens": len(row.ids), "what": "dropped"})
            continue
        if not fits:
            listed.append({"id": row.id, "tokens": len(row.ids), "what": "truncated"})
        kept.append(row if fits else Row(row.id, row.ids[:limit], row.prompt))
    if not kept:
        raise ValueError(_nothing_left(len(listed), limit, too_long, shortest))
    return kept, listed


def _nothing_left(rows: int, limit: int, too_long: str, shortest: int | None) -> str:
    if not rows:
        return "there is no row to train on: the subset is empty"
    return (f"none of {rows} rows can be trained on at {limit} tokens (train.max_length, or the model's window if "
            f"that is shorter) with train.too_long={too_long}: the shortest row has {shortest} tokens. Raise "
            "train.max_length, or select shorter pairs")  # fmt: skip


def counts(rows: list[Row], listed: list[dict[str, Any]]) -> dict[str, int]:
    """rows = trained + dropped; truncated ones are among the trained. `tokens` is one epoch of prompts and answers."""
    what = Counter(line["what"] for line in listed)
    return {"rows": len(rows) + what["dropped"], "trained": len(rows), "dropped": what["dropped"],
            "truncated": what["truncated"], "tokens": sum(len(row.ids) for row in rows),
            "completion_tokens": sum(len(row.ids) - row.prompt for row in rows)}  # fmt: skip
