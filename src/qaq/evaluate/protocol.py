"""EvalPlus's two protocols as text: what the model is asked, where its reply is opened, where it is cut.

chat         for a model with a chat template, its own or a borrowed one: the task as a request, the reply opened in a fence
completion   for a base model without one: the task's prompt, to be continued

Source: evalplus 0.3.1, provider/utility.py (make_raw_chat_prompt, EOS, extra_eos_for_direct_completion), codegen.py (the two
prefixes, prompt.strip() and a line break), provider/hf.py (the stop texts of chat models, the tokenizer's own start mark, tabs
to spaces). We depart in two places, both in chat: a fence ends the program wherever a line starts with it (theirs must fill
its line), because the rest of such a line is never code; and a reply that begins indented and never defines the function
continues its body, so the task's own head is put before it.
"""

import hashlib
import json
import re
from typing import Any

from qaq import chat
from qaq.evaluate.benchmark import Task

INSTRUCTION = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:"
)
RESPONSE = (
    "Below is a Python script with a self-contained function that solves the problem and passes corresponding tests:"
)
OPENING = f"{RESPONSE}\n```python\n"
FENCE = "```"
_ENDS = ("<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(")
_COMPLETION_ENDS = {
    "humaneval": ("\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert "),
    "mbpp": ('\n"""', "\nassert"),
}


class Chat:
    """The protocol of a model that is talked to."""

    name = "chat"

    def __init__(self, tokenizer: Any, system: str | None) -> None:
        self.frame = chat.frame(tokenizer, system)
        self.tail = self.frame.tail

    def prompt(self, task: Task) -> str:
        """The conversation up to the first character of the program."""
        return self.frame.prompt(request(task)) + OPENING

    @staticmethod
    def stops(dataset: str) -> tuple[str, ...]:
        """Texts that end a reply. Every data set's are the same."""
        return (f"\n{FENCE}", *_ENDS)

    @classmethod
    def program(cls, task: Task, raw: str) -> str:
        """The program in a reply: the tests can be appended to it."""
        program = raw[: stop_at(raw, cls.stops(task.dataset))].replace("\t", "    ")
        defined = re.search(rf"^(async\s+)?def\s+{re.escape(task.entry_point)}\b", program, re.MULTILINE)
        continued = program.lstrip("\n").startswith(" ")
        return task.head + program if continued and not defined else program


class Completion:
    """The protocol of a model that goes on with a text."""

    name = "completion"
    tail = ""

    def __init__(self, tokenizer: Any, system: str | None) -> None:
        self.start = tokenizer.decode(tokenizer("")["input_ids"])  # as text: prompts are encoded without marks

    def prompt(self, task: Task) -> str:
        """The task, after the tokenizer's own start mark if it has one."""
        return self.start + _opened(task)

    @staticmethod
    def stops(dataset: str) -> tuple[str, ...]:
        """Texts that end a completion."""
        return (*_ENDS, *_COMPLETION_ENDS[dataset])

    @classmethod
    def program(cls, task: Task, raw: str) -> str:
        """The prompt and what was said after it."""
        return _opened(task) + raw[: stop_at(raw, cls.stops(task.dataset))].replace("\t", "    ")


PROTOCOLS = {protocol.name: protocol for protocol in (Chat, Completion)}


def of(tokenizer: Any, settings: dict[str, Any]) -> Chat | Completion:
    """The protocol of evaluate.protocol; `auto` chats with whoever has a template, its own or a borrowed one."""
    name = settings["protocol"]
    if name == "auto":
        name = "completion" if tokenizer.chat_template is None else "chat"
    return PROTOCOLS[name](tokenizer, settings["system_prompt"])


def identity(settings: dict[str, Any], tasks: list[Task]) -> dict[str, Any]:
    """What determines the replies to `tasks` besides the model: mbpp and mbpp_plus ask the same."""
    asked = [[task.task_id, task.dataset, task.prompt, task.entry_point, task.canonical_solution] for task in tasks]
    names = (
        "max_new_tokens",
        "dtype",
        "system_prompt",
        "protocol",
        "generator",
        "samples",
        "temperature",
        "batch_size",
    )
    chance = ("top_p", "seed") if settings["temperature"] else ()
    return {"tasks": hashlib.sha256(json.dumps(asked).encode()).hexdigest(),
            **{name: settings[name] for name in (*names, *chance)}}  # fmt: skip


def request(task: Task) -> str:
    """The user's turn."""
    return f"{INSTRUCTION}\n```\n{task.prompt.strip()}\n```\n"


def solution_after(protocol: Chat | Completion, task: Task) -> tuple[str, str]:
    """(context, target): the canonical solution as the reply, with the task's own head in the context."""
    context = protocol.prompt(task) + (task.head if protocol.name == "chat" else "")
    return context, task.canonical_solution if task.head else task.canonical_solution.lstrip("\n")


def stop_at(raw: str, stops: tuple[str, ...]) -> int | None:
    """Where the program ends in `raw`; None if it goes on. A fence may come first: the reply begins a line."""
    if f"\n{FENCE}" in stops and raw.startswith(FENCE):
        return 0
    found = [place for stop in stops if (place := raw.find(stop)) >= 0]
    return min(found) if found else None


def _opened(task: Task) -> str:
    return task.prompt.strip() + "\n"
