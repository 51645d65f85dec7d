"""Which language an answer's code is written in: the tags of its fences, else whether Python compiles it, else patterns.

Transparent before exact: the names, tags and patterns are conf/composition/*.yaml. A text that shows no code at all is
"no code"; code that none of the rules knows is "unknown".
"""

import ast
import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

NO_CODE, UNKNOWN = "no code", "unknown"
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n]*\n(.*?)(?:^[ \t]*\1|\Z)", re.MULTILINE | re.DOTALL)
_PROSE = frozenset(("text", "txt", "plaintext", "plain", "output", "none", "log", "math"))  # tags of what is no code
# What Python code has beyond an expression: `1, 2` and `yes` compile as well.
_STATEMENTS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.For, ast.While, ast.With,
               ast.If, ast.Try, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Assert, ast.Delete)  # fmt: skip
_CALLED = frozenset(
    ("print", "len", "sum", "max", "min", "sorted", "range", "map", "filter", "list", "set", "dict", "sort")
)
_COULD_BE_PYTHON = re.compile(
    r"^\s*(?:def|class|import|from|for|while|with|if|try|return|async|assert|del)\b|\bprint\(|=|\(", re.MULTILINE
)
# A line of code in no language in particular: an assignment, a call, a brace or a semicolon at its end, a command's option.
_CODE_LINE = re.compile(
    r"[;{}]\s*$|^\s*[\w.]+\(.*\)\s*$|^\s*[\w.\[\]]+ *[-+*/]?= *\S|^\s*[\w.]+\[.*\]\s*$|^\s*\w+ [-+*/%] \w+\s*$|^\s*\w+ .*\s--?\w",
    re.MULTILINE,
)


def detector(languages: Sequence[dict[str, Any]], longest: int) -> Callable[[str], str]:
    """The function from an answer to its language. `languages` have name, tags and pattern, first match first; `longest`:
    characters of code that are looked at. ValueError for a pattern that is no regular expression."""
    tags = {tag.lower(): one["name"] for one in languages for tag in one["tags"]}
    patterns = [(one["name"], _compiled(one)) for one in languages if one["pattern"]]

    def language(answer: str) -> str:
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
            return max(tagged, key=tagged.get)
        code = "\n".join(code for tag, code in fences if tag not in _PROSE)
        whole = code if code.strip() else answer
        return _of_code(whole[:longest], len(whole) <= longest, patterns) or (
            UNKNOWN if code.strip() or _codelike(whole) else NO_CODE
        )

    return language


def _compiled(one: dict[str, Any]) -> re.Pattern[str]:
    try:
        return re.compile(one["pattern"], re.MULTILINE)
    except re.error as error:
        raise ValueError(
            f"composition.languages: the pattern of {one['name']} is no regular expression: {error}"
        ) from error


def _of_code(code: str, whole: bool, patterns: Sequence[tuple[str, re.Pattern[str]]]) -> str | None:
    if whole and _is_python(code):
        return "Python"
    return next((name for name, pattern in patterns if pattern.search(code)), None)


def _is_python(code: str) -> bool:
    if not _COULD_BE_PYTHON.search(code):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in strings that we only read
            body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # of any text; ValueError: a null character
        return False
    return any(isinstance(node, _STATEMENTS) or _is_call(node) for node in body)


def _is_call(node: ast.stmt) -> bool:
    """Whether a statement calls a built-in function: `console.log(x)` and `f(x)` are Python too, and many other things."""
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in _CALLED


def _codelike(text: str) -> bool:
    """Whether a third of the lines look like code."""
    lines = [line for line in text.splitlines() if line.strip()]
    return 3 * sum(bool(_CODE_LINE.search(line)) for line in lines) >= len(lines)
