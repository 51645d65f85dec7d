"""What of answers and replies is Python, asked apart (see `parse`): no text that a model wrote takes us along."""

import marshal
from pathlib import Path
from typing import Any, NamedTuple

from qaq.sandbox import limited

PARSE = Path(__file__).with_name("parse.py")
_SECONDS, _MEMORY_MB = 10.0, 1024  # for one text; of an ordinary one the parser takes a thousandth of both


class Program(NamedTuple):
    """What an answer defines; `status` is "" if it can be tested, else "not python" or "nothing to run"."""

    status: str
    source: str
    names: list[str]


class Plan(NamedTuple):
    """A test as two halves: a function that gives a value, for the answer's process, and what the value is to be, for ours.

    `what`: see parse.plan; `left`: whether the literal stands on the left of the comparison.
    """

    function: str
    what: str
    literal: Any
    left: bool


def programs(answers: list[str]) -> list[Program]:
    """In order; what ends the parser is not Python."""
    found = limited.each(PARSE, "program", [[answer] for answer in answers], _SECONDS, _MEMORY_MB)
    return [Program(*one) if one else Program("not python", "", []) for one in found]


def tests(replies: list[str], names: list[list[str]], count: int) -> list[list[str]]:
    """Of each reply the sources of up to `count` tests of what is called `names`; of what ends the parser none."""
    rows = [[reply, named, count] for reply, named in zip(replies, names, strict=True)]
    return [one or [] for one in limited.each(PARSE, "tests", rows, _SECONDS, _MEMORY_MB)]


def plans(sources: list[str], names: list[str]) -> list[Plan | None]:
    """Of each test's source, with `names` for the functions; None for what is no test."""
    rows = [[source, name] for source, name in zip(sources, names, strict=True)]
    found = limited.each(PARSE, "plan", rows, _SECONDS, _MEMORY_MB)
    return [one and Plan(one[0], one[1], marshal.loads(bytes.fromhex(one[2])), one[3]) for one in found]
