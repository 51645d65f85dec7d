"""The one place that knows how a conversation becomes text.

Scoring, training and evaluation all render through `frame`, so a model is scored on the text it is trained on and
asked in the same form. A base model borrows the template of its own family (see `qaq.models`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_QUERY, _ANSWER = "QAQqueryQAQ", "QAQanswerQAQ"


@dataclass(frozen=True)
class Frame:
    """The template's text around one exchange: head + query + end + opener + answer + tail."""

    head: str
    end: str
    opener: str
    tail: str

    def prompt(self, query: str) -> str:
        """Everything before the answer."""
        return self.head + query + self.end + self.opener


def frame(tokenizer: "PreTrainedTokenizerBase", system: str | None) -> Frame:
    """The frame of `tokenizer`'s template. `system` None keeps the template's own default, if it has one.

    Thinking is switched off where the template knows the switch (Qwen3). ValueError if there is no template or it
    does not reproduce what it is given.
    """
    if tokenizer.chat_template is None:
        raise ValueError(f"{tokenizer.name_or_path} has no chat template: set template_id or template_path to the "
                         "instruct model of the same family")  # fmt: skip
    turns = [{"role": "system", "content": system}] if system is not None else []
    turns.append({"role": "user", "content": _QUERY})
    asked = _render(tokenizer, turns)
    text = _render(tokenizer, [*turns, {"role": "assistant", "content": _ANSWER}])
    if not text.startswith(asked) or text.count(_QUERY) != 1 or text.count(_ANSWER) != 1:
        raise ValueError(f"the chat template of {tokenizer.name_or_path} changes what it is given: {text!r}")
    head, end = asked.split(_QUERY)
    opener, tail = text[len(asked) :].split(_ANSWER)
    return Frame(head, end, opener, tail)


def _render(tokenizer: "PreTrainedTokenizerBase", turns: list[dict[str, str]]) -> str:
    return tokenizer.apply_chat_template(turns, tokenize=False, enable_thinking=False)


def encode(tokenizer: "PreTrainedTokenizerBase", texts: list[str]) -> list[list[int]]:
    """Token ids of each text on its own, without the tokenizer's own start or end marks.

    A conversation is the concatenation of its parts' ids, so a query has the same tokens wherever it stands.
    """
    return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []
