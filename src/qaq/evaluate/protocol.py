"""EvalPlus's chat protocol as text: what the model is asked, where its reply is opened, where it is cut.

Source: evalplus 0.3.1, provider/utility.py (make_raw_chat_prompt, EOS), codegen.py (the two prefixes), provider/hf.py
(the stop texts of chat models, tabs to spaces). We depart in two places: a fence ends the program wherever a line
starts with it (theirs must fill its line), because the rest of such a line is never code; and a reply that begins
indented and never defines the function continues its body, so the task's own head is put before it.
"""

import re

from qaq.chat import Frame
from qaq.evaluate.benchmark import Task

INSTRUCTION = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:"
)
RESPONSE = (
    "Below is a Python script with a self-contained function that solves the problem and passes corresponding tests:"
)
OPENING = f"{RESPONSE}\n```python\n"
STOPS = ("\n```", "\nif __name__", "\ndef main(", "\nprint(", "<|endoftext|>", "<|endofmask|>", "</s>")


def request(task: Task) -> str:
    """The user's turn."""
    return f"{INSTRUCTION}\n```\n{task.prompt.strip()}\n```\n"


def prompt(frame: Frame, task: Task) -> str:
    """The conversation up to the first character of the program."""
    return frame.prompt(request(task)) + OPENING


def stop_at(raw: str) -> int | None:
    """Where the program ends in `raw`, the text after the opened fence; None if it goes on."""
    found = [place for stop in STOPS if (place := ("\n" + raw).find(stop)) >= 0]  # `raw` begins a line
    return max(min(found) - 1, 0) if found else None


def solution(task: Task, raw: str) -> str:
    """The program in a reply: the tests can be appended to it."""
    program = raw[: stop_at(raw)].replace("\t", "    ")
    defined = re.search(rf"^(async\s+)?def\s+{re.escape(task.entry_point)}\b", program, re.MULTILINE)
    continued = program.lstrip("\n").startswith(" ")
    return task.prompt + program if continued and not defined else program
