"""Which language an answer's code is written in: the tags of its fences, else whether Python parses it, else patterns.

Transparent before exact: the names, tags and patterns are conf/composition/*.yaml. A text that shows no code at all is
"no code"; code that none of the rules knows is "unknown". The parser is asked apart: no answer takes us along.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import filterfalse
from pathlib import Path
from typing import Any

from qaq.sandbox import limited

NO_CODE, UNKNOWN, PYTHON = "no code", "unknown", "Python"
STATEMENTS = Path(__file__).with_name("statements.py")
_SECONDS, _MEMORY_MB = 10.0, 1024  # for one text; of an ordinary one the parser takes a thousandth of both
_FENCE = re.compile(
    r"^[ \t]*(`{3,}+|~{3,}+)[ \t]*+([\w+#.-]*+)[^\n]*+\n(.*?)(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL
)
_PROSE = frozenset(("text", "txt", "plaintext", "plain", "output", "none", "log", "math"))  # tags of what is no code
_COULD_BE_PYTHON = re.compile(r"^[ \t]*(?:def|class|import|from|for|while|with|if|try|return|async|assert|del)\b|\bprint\(|=|\(",
                              re.MULTILINE)  # fmt: skip
_PLAIN = re.compile(r"[A-Za-z][a-z']*[.,:;?!]?")
# A line of code in no language in particular: a brace or a semicolon at its end, a call, an assignment, an item, arithmetic,
# a command's option.
_CODE_LINE = re.compile(
    r"[;{}]$|^[\w.]+\(.*\)$|^[\w.\[\]]+ *[-+*/]?= *\S|^[\w.]+\[.*\]$|^\w+ [-+*/%] \w+$|^\w+ .*\s--?\w"
)


def detector(languages: Sequence[dict[str, Any]], longest: int) -> Callable[[list[str]], list[str]]:
    """The function from answers to their languages. `languages` have name, tags and pattern, first match first; `longest`:
    characters of code that are looked at. ValueError for a pattern that is no regular expression."""
    tags = {tag.lower(): one["name"] for one in languages for tag in one["tags"]}
    patterns = [(one["name"], _compiled(one)) for one in languages if one["pattern"]]

    def of(answers: list[str]) -> list[str]:
        seen = [_seen(answer, tags) for answer in answers]
        asked = [code if not language and len(code) <= longest else "" for language, code, _ in seen]
        python = _is_python(asked)
        return [
            language or (PYTHON if python[k] else _named(code[:longest], patterns) or _unnamed(code[:longest], fenced))
            for k, (language, code, fenced) in enumerate(seen)
        ]

    return of


def _compiled(one: dict[str, Any]) -> re.Pattern[str]:
    try:
        return re.compile(one["pattern"], re.MULTILINE)
    except re.error as error:
        raise ValueError(
            f"composition.languages: the pattern of {one['name']} is no regular expression: {error}"
        ) from error


def _seen(answer: str, tags: dict[str, str]) -> tuple[str | None, str, bool]:
    """The language that its fences tell, else what is to be looked at: the code of its fences, or all of it; whether it has any."""
    fences = (
        [(found[2].lower(), found[3]) for found in _FENCE.finditer(answer)]
        if "```" in answer or "~~~" in answer
        else []
    )
    tagged = Counter()
    for tag, code in fences:
        if tag in tags:
            tagged[tags[tag]] += 1 + len(code)
    if tagged:
        return max(tagged, key=tagged.get), "", True
    code = "\n".join(code for tag, code in fences if tag not in _PROSE)
    return (None, code, True) if code.strip() else (None, "\n".join(filterfalse(_is_prose, answer.split("\n"))), False)


def _is_prose(line: str) -> bool:
    """Eight words or more, most of them nothing but letters, that begin or end as a sentence does."""
    words = line.split()
    if len(words) < 8 or not (words[0][:1].isupper() or words[-1][-1] in ".,:?!"):
        return False
    return 10 * sum(bool(_PLAIN.fullmatch(word)) for word in words) >= 7 * len(words)


def _is_python(codes: list[str]) -> list[bool]:
    """Of each text; what ends the parser is not Python."""
    places = [k for k, code in enumerate(codes) if _COULD_BE_PYTHON.search(code)]
    found = limited.each(STATEMENTS, "is_python", [[codes[k]] for k in places], _SECONDS, _MEMORY_MB)
    known = dict(zip(places, found, strict=True))
    return [bool(known.get(k)) for k in range(len(codes))]


def _named(code: str, patterns: Sequence[tuple[str, re.Pattern[str]]]) -> str | None:
    return next((name for name, pattern in patterns if pattern.search(code)), None)


def _unnamed(code: str, fenced: bool) -> str:
    """Without a fence it is code if a third of its lines look like code."""
    lines = [line.strip() for line in code.splitlines() if line.strip()]
    alike = fenced or (bool(lines) and 3 * sum(bool(_CODE_LINE.search(line)) for line in lines) >= len(lines))
    return UNKNOWN if alike else NO_CODE
