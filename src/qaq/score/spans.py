"""Which tokens are scored: two protocols for the same three passes (QAQ, section 3).

A causal model's marginal of Q is a by-product of reading the whole conversation, so three passes give four likelihoods:

    forward   head Q end opener A                     -> query | nothing, answer | query
    reverse   head instruction(A) end opener Q        -> query | answer
    answer    opener A                                -> answer | nothing (the bare response marker, as in IFD)

`exact` tokenises each part on its own, so a query has the same tokens in both directions and RMI is taken over the same
events. `reference` is the published scorer's: the whole rendering is tokenised, and the span of PPL(Q) starts where the
rendering of an EMPTY user turn ends. That already counts the end-of-turn marker, so the first characters of Q are not
scored and the template's closing text is; the reverse span is Q with the closing text. Its answers are ours, exactly A.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from qaq import chat

PASSES = ("forward", "reverse", "answer")
TARGETS = {"forward": (("query", "nothing"), ("answer", "query")), "reverse": (("query", "answer"),),
           "answer": (("answer", "nothing"),), "continuation": (("answer", "query"),)}  # fmt: skip


@dataclass(frozen=True)
class Text:
    """One sequence to read: token ids, and [start, end) of each of its pass's TARGETS."""

    id: str
    tokens: list[int]
    spans: tuple[tuple[int, int], ...]


Reader = Callable[[Sequence[str], list[str], list[str]], list[Text]]


def reader(tokenizer: Any, pass_name: str, settings: dict[str, Any]) -> Reader:
    """A function (ids, queries, answers) -> texts of the pass. ValueError for an unknown pass or protocol."""
    if pass_name not in PASSES:
        raise ValueError(f"unknown pass {pass_name!r}; known: {', '.join(PASSES)}")
    frame = chat.frame(tokenizer, settings["system_prompt"])
    before, after = settings["reverse_instruction"].split("{answer}")
    if settings["protocol"] == "reference" and pass_name != "answer":
        return _reference(tokenizer, frame, pass_name, (before, after))
    fixed = [frame.head, frame.end + frame.opener, frame.head + before, after + frame.end + frame.opener, frame.opener]
    head, turn, ask, asked, marker = chat.encode(tokenizer, fixed)
    parts = {
        "forward": lambda q, a: [(head, False), (q, True), (turn, False), (a, True)],
        "reverse": lambda q, a: [(ask, False), (a, False), (asked, False), (q, True)],
        "answer": lambda q, a: [(marker, False), (a, True)],
    }[pass_name]

    def read(ids: Sequence[str], queries: list[str], answers: list[str]) -> list[Text]:
        tokens = zip(chat.encode(tokenizer, queries), chat.encode(tokenizer, answers), strict=True)
        return [_join(id, parts(q, a)) for id, (q, a) in zip(ids, tokens, strict=True)]

    return read


def continuations(tokenizer: Any, ids: Sequence[str], contexts: list[str], targets: list[str]) -> list[Text]:
    """Texts in which a rendered context is followed by what is scored (answer | query)."""
    before, after = chat.encode(tokenizer, contexts), chat.encode(tokenizer, targets)
    return [_join(id, [(b, False), (a, True)]) for id, b, a in zip(ids, before, after, strict=True)]


def _join(id: str, parts: list[tuple[list[int], bool]]) -> Text:
    """`parts` one after the other; those marked are targets."""
    spans, position = [], 0
    for tokens, scored in parts:
        if scored:
            spans.append((position, position + len(tokens)))
        position += len(tokens)
    return _checked(Text(id, list(chain.from_iterable(tokens for tokens, _ in parts)), tuple(spans)))


def _reference(tokenizer: Any, frame: chat.Frame, pass_name: str, ask: tuple[str, str]) -> Reader:
    def read(ids: Sequence[str], queries: list[str], answers: list[str]) -> list[Text]:
        drawn = [_drawn(frame, pass_name, ask, q, a) for q, a in zip(queries, answers, strict=True)]
        coded = tokenizer([text for text, _ in drawn], add_special_tokens=False, return_offsets_mapping=True,
                          verbose=False)  # fmt: skip
        return [_checked(Text(id, tokens, tuple(_tokens_of(edges, span) for span in spans)))
                for id, tokens, edges, (_, spans) in
                zip(ids, coded["input_ids"], coded["offset_mapping"], drawn, strict=True)]  # fmt: skip

    return read


def _drawn(frame: chat.Frame, pass_name: str, ask: tuple[str, str], query: str,
           answer: str) -> tuple[str, list[tuple[int, int]]]:  # fmt: skip
    """The rendering and the [start, end) characters of its targets."""
    if pass_name == "reverse":
        prompt = frame.prompt(ask[0] + answer + ask[1])
        text = prompt + query + frame.tail
        return text, [(len(prompt), len(text))]
    prompt = frame.prompt(query)
    asked = len(frame.head + query + frame.end)
    return prompt + answer, [(len(frame.head + frame.end), asked), (len(prompt), len(prompt + answer))]


def _tokens_of(edges: list[tuple[int, int]], span: tuple[int, int]) -> tuple[int, int]:
    """[start, end) of the tokens that begin inside the characters of `span`."""
    inside = [i for i, (start, _) in enumerate(edges) if span[0] <= start < span[1]]
    return (inside[0], inside[-1] + 1) if inside else (1, 1)


def _checked(text: Text) -> Text:
    if text.spans[0][0] < 1:
        raise ValueError(f"{text.id}: nothing stands before the scored text, so its first token has no likelihood; "
                         "use a chat template with an opening mark")  # fmt: skip
    return text
