"""Worker: `python -m qaq.score.tokenise REQUEST` writes the texts of every pass (see `qaq.score.texts`)."""

from pathlib import Path
from typing import Any

from qaq import models
from qaq.launch import request
from qaq.score.texts import write_continuations, write_texts
from qaq.store import room


def tokenise(request: dict[str, Any]) -> None:
    """`request`: model (directory), out, and examples with settings, or continuations (files)."""
    tokenizer, out = models.tokenizer(Path(request["model"])), Path(request["out"])
    with room(out, "the pairs' tokens"):
        if "continuations" in request:
            write_continuations(Path(request["continuations"]), tokenizer, out)
        else:
            write_texts(Path(request["examples"]), tokenizer, request["settings"], out)


if __name__ == "__main__":
    tokenise(request())
