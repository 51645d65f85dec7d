"""Docstring -> function pairs mined from the standard library of the running Python: real code, no download.

The query is an instruction made of the qualified name, the signature and the docstring; the answer is the function's
source without its docstring. Tests, teaching material and vendored tools are left out; so are functions whose
docstring says next to nothing and functions that are stubs.
"""

import ast
import random
import sysconfig
import textwrap
import tokenize
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from qaq.data.record import Source, of_value

_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "idlelib", "lib2to3", "turtledemo",
             "ensurepip", "lib-dynload", "pydoc_data", "__pycache__", "__phello__"}  # fmt: skip
_DOCSTRING_WORDS = 5  # fewer words ("Internal.", "See above.") do not say what to write
_STATEMENTS = 2  # a body of one statement is a stub or a forwarder
_LINES = 60  # longer functions are a few per cent, and most of the time a small model would spend

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def source(settings: dict[str, Any]) -> Source:
    """All pairs, shuffled by `seed`."""
    pairs = list(mine())
    random.Random(settings["seed"]).shuffle(pairs)
    return Source(of_value(pair) for pair in pairs)


@cache
def mine() -> tuple[dict[str, str], ...]:
    """Records {instruction, output, module, name}, ordered by module and line."""
    root = Path(sysconfig.get_path("stdlib"))
    return tuple(record for path in modules(root) for record in _of_module(path, _module_name(path, root)))


def modules(root: Path) -> list[Path]:
    """The Python files under `root` that are mined, in order of their names."""
    found = (path for path in root.rglob("*.py") if not _LEFT_OUT & set(path.relative_to(root).parts))
    kept = (path for path in found if not path.relative_to(root).parts[0].startswith("config-"))
    return sorted(kept, key=lambda path: path.relative_to(root).parts)


def _module_name(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _of_module(path: Path, module: str) -> Iterator[dict[str, str]]:
    with tokenize.open(path) as file:  # reads the encoding the file declares
        text = file.read()
    lines = [line + "\n" for line in text.split("\n")]  # as ast counts them: splitlines also cuts at form feeds
    for name, node in _functions(_parse(text).body, module):
        answer = _answer(node, lines)
        if answer is not None:
            yield {"instruction": _query(name, node), "output": answer, "module": module, "name": name}


def _parse(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd escapes in other people's files
        return ast.parse(text)


def _functions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, _Function]]:
    """Qualified name and node of each function of a module and each method of its classes."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{prefix}.{node.name}")
        elif isinstance(node, _Function) and _says_enough(node):
            yield f"{prefix}.{node.name}", node


def _says_enough(node: _Function) -> bool:
    docstring = ast.get_docstring(node)
    if not docstring or len(docstring.split()) < _DOCSTRING_WORDS:
        return False
    return len(node.body) - 1 >= _STATEMENTS or any(isinstance(s, (ast.If, ast.For, ast.While, ast.With, ast.Try))
                                                    for s in node.body[1:])  # fmt: skip


def _query(name: str, node: _Function) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    kind = "async function" if isinstance(node, ast.AsyncFunctionDef) else "function"
    return f"Write the Python {kind} `{name}({ast.unparse(node.args)}){returns}`.\n\n{ast.get_docstring(node)}"


def _answer(node: _Function, lines: list[str]) -> str | None:
    """The source of `node` without its docstring, at the left margin; None where it cannot be cut out line by line."""
    docstring, following = node.body[0], node.body[1]
    start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    if docstring.lineno == node.lineno or following.lineno == docstring.end_lineno:
        return None
    head, rest = lines[start - 1 : docstring.lineno - 1], lines[docstring.end_lineno : node.end_lineno]
    answer = textwrap.dedent("".join(head).rstrip() + "\n" + "".join(rest).lstrip("\n")).rstrip() + "\n"
    if answer.count("\n") > _LINES or not _is_function(answer):
        return None
    return answer


def _is_function(text: str) -> bool:
    """Whether it parses alone; a string that reaches the left margin, or a one-line head, can prevent that."""
    try:
        body = _parse(text).body
    except SyntaxError:
        return False
    return len(body) == 1 and isinstance(body[0], _Function) and ast.get_docstring(body[0]) is None
