"""Which tokens are scored: protocol `exact` (QAQ, section 3, with the span departure noted in the README).

A conversation is rendered by the model's chat template and each part is tokenised on its own, so the query has exactly
the same tokens in PPL(Q) and PPL(Q|A) and the difference, RMI, is taken over the same events. Three passes give the
four likelihoods, since a causal model's marginal of Q is a by-product of reading the whole conversation:

    forward   head Q end opener A                     -> query | nothing, answer | query
    reverse   head instruction(A) end opener Q        -> query | answer
    answer    opener A                                -> answer | nothing (the bare response marker, as in IFD)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from qaq import chat

PASSES = ("forward", "reverse", "answer")


@dataclass(frozen=True)
class Target:
    """Tokens [start, end) of a sequence are `what` and are scored given everything before them."""

    what: str
    given: str
    start: int
    end: int


@dataclass(frozen=True)
class Text:
    """One text to read: its id, its token ids, and the targets in it."""

    id: str
    tokens: list[int]
    targets: tuple[Target, ...]


# A part of a sequence: its token ids, and the (what, given) it is a target of, or None.
_Part = tuple[list[int], tuple[str, str] | None]


def conversations(tokenizer: Any, ids: Sequence[str], queries: list[str], answers: list[str], pass_name: str,
                  settings: dict[str, Any]) -> list[Text]:  # fmt: skip
    """The sequences of one pass over pairs (query, answer), in the order given."""
    parts = _layout(tokenizer, pass_name, settings)
    q_tokens, a_tokens = chat.encode(tokenizer, queries), chat.encode(tokenizer, answers)
    return [_join(id, parts(q, a)) for id, q, a in zip(ids, q_tokens, a_tokens, strict=True)]


def continuations(tokenizer: Any, ids: Sequence[str], contexts: list[str], targets: list[str]) -> list[Text]:
    """Sequences in which a rendered text is followed by the text to score (answer | query)."""
    before, after = chat.encode(tokenizer, contexts), chat.encode(tokenizer, targets)
    return [_join(id, [(b, None), (a, ("answer", "query"))]) for id, b, a in zip(ids, before, after, strict=True)]


def _layout(tokenizer: Any, pass_name: str, settings: dict[str, Any]) -> Callable[[list[int], list[int]], list[_Part]]:
    frame = chat.frame(tokenizer, settings["system_prompt"])
    before, after = settings["reverse_instruction"].split("{answer}")
    fixed = [frame.head, frame.end + frame.opener, frame.head + before, after + frame.end + frame.opener, frame.opener]
    head, turn, ask, asked, marker = chat.encode(tokenizer, fixed)
    if pass_name == "forward":
        return lambda q, a: [(head, None), (q, ("query", "nothing")), (turn, None), (a, ("answer", "query"))]
    if pass_name == "reverse":
        return lambda q, a: [(ask, None), (a, None), (asked, None), (q, ("query", "answer"))]
    if pass_name == "answer":
        return lambda q, a: [(marker, None), (a, ("answer", "nothing"))]
    raise ValueError(f"unknown pass {pass_name!r}; known: {', '.join(PASSES)}")


def _join(id: str, parts: list[_Part]) -> Text:
    if not parts[0][0]:
        raise ValueError(f"{id}: nothing stands before the scored text, so its first token has no likelihood; "
                         "use a chat template with an opening mark")  # fmt: skip
    targets, position = [], 0
    for tokens, target in parts:
        if target:
            targets.append(Target(*target, position, position + len(tokens)))
        position += len(tokens)
    return Text(id, list(chain.from_iterable(tokens for tokens, _ in parts)), tuple(targets))
