"""Worker: `python -m qaq.score REQUEST` reads pairs or rendered texts, writes likelihood.parquet."""

import logging
from pathlib import Path
from typing import Any

from qaq import models
from qaq.launch import request
from qaq.score import engine, spans
from qaq.tables import LIKELIHOOD, conform, read, write

log = logging.getLogger(__name__)


def score(request: dict[str, Any]) -> None:
    """`request`: model (directory), name, settings, device, out, and either `examples` or `continuations` (a file)."""
    settings = request["settings"]
    model, tokenizer = models.load(request["model"], settings["dtype"], models.device(request["device"]))
    window = min(models.window(model), settings["max_length"] or models.window(model))
    rows: list[dict[str, Any]] = []
    for label, texts in _texts(tokenizer, request):
        log.info("likelihood pass %s of %s: %d texts", label, request["name"], len(texts))
        rows += _likelihood(model, texts, window, settings["tokens_per_batch"], request["name"], label)
    write(conform(rows, LIKELIHOOD), Path(request["out"]) / "likelihood.parquet")


def _texts(tokenizer: Any, request: dict[str, Any]) -> list[tuple[str, list[spans.Text]]]:
    if "continuations" in request:
        table = read(Path(request["continuations"]))
        columns = [table[name].to_pylist() for name in ("id", "context", "target")]
        return [("continuation", spans.continuations(tokenizer, *columns))]
    table = read(Path(request["examples"]), columns=["id", "query", "answer"])
    columns = [table[name].to_pylist() for name in ("id", "query", "answer")]
    settings = request["settings"]
    return [(name, spans.conversations(tokenizer, *columns, name, settings)) for name in settings["passes"]]


def _likelihood(model: Any, texts: list[spans.Text], window: int, tokens_per_batch: int, name: str,
                label: str) -> list[dict[str, Any]]:  # fmt: skip
    fits = [text for text in texts if len(text.tokens) <= window]
    sums = dict(zip([t.id for t in fits], engine.nll_sums(model, fits, tokens_per_batch, f"{name} {label}"), strict=True))
    return [row for text in texts for row in _rows(text, name, sums.get(text.id))]


def _rows(text: spans.Text, name: str, sums: list[float] | None) -> list[dict[str, Any]]:
    values = sums or [None] * len(text.targets)
    return [
        {"id": text.id, "model": name, "target": target.what, "given": target.given, "nll_sum": value,
         "tokens": target.end - target.start, "truncated": sums is None}
        for target, value in zip(text.targets, values, strict=True)
    ]  # fmt: skip


if __name__ == "__main__":
    score(request())
