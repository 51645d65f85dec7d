"""Worker: `python -m qaq.score.measure REQUEST` times the engine on a sample of what it has yet to read.

The sample is made of whole batches, drawn in proportion to their tokens and evenly over all passes and lengths: short texts
are read faster than long ones, and neighbours in length share a batch as they will in the real run.
"""

import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qaq import hardware, models
from qaq.launch import request
from qaq.score import engine
from qaq.score.shards import Shards
from qaq.score.texts import open_texts

_GOLDEN = (5**0.5 - 1) / 2  # its multiples lie evenly in [0, 1) wherever the drawing stops
# From the sample's peak to the run's: 0.97 to 1.14 times with SmolLM2-135M, two data sets; the sample reads the longest batch.
_HEAP_GROWS = 1.1


@dataclass(frozen=True)
class Batch:
    """Rows one pass reads together; `tokens` without those the pass has read already."""

    engine: engine.Engine
    rows: np.ndarray
    tokens: int

    def seconds(self) -> float:
        """How long its reading takes."""
        start = time.monotonic()
        self.engine.sums(self.rows)
        return time.monotonic() - start


def measure(request: dict[str, Any]) -> None:
    """`request`: that of `qaq.score`, and needed (bytes), seconds, out. Writes measured.json: see `sample`."""
    device, out = models.device(request["device"]), Path(request["out"]) / "measured.json"
    if reason := hardware.lacking(request["needed"], device):
        out.write_text(json.dumps({"not_measured": reason}))
        return
    start = time.monotonic()
    model, _ = models.load(request["model"], request["settings"]["dtype"], device)
    loading = time.monotonic() - start
    found = sample(_batches(model, request), request["seconds"])
    found |= {"loading": loading, "peak_bytes": hardware.expected(device, _HEAP_GROWS), **hardware.describe(device)}
    out.write_text(json.dumps(found, indent=1) + "\n")


def sample(batches: list[Batch], seconds: float) -> dict[str, Any]:
    """{work: seconds all batches will take, error: its relative standard error, timed: seconds that were timed,
    done: seconds the work of this sample and of the warm-up takes at the measured rate}.

    The longest batch warms up, and shows the memory that will be needed. Every batch is timed once at most.
    """
    longest = max(batches, key=lambda batch: batch.tokens / len(batch.rows))
    longest.seconds()
    total = np.cumsum([batch.tokens for batch in batches])
    rates: dict[int, float] = {}
    drawn: list[float] = []
    timed = 0.0
    for number in itertools.count():
        if len(rates) == len(batches) or (drawn and timed >= seconds) or number >= 8 * len(batches):
            break
        chosen = int(np.searchsorted(total, (0.5 + number * _GOLDEN) % 1 * total[-1], side="right"))
        if chosen not in rates:
            took = batches[chosen].seconds()
            rates[chosen], timed = took / batches[chosen].tokens, timed + took
        drawn.append(rates[chosen])
    rate, whole = float(np.mean(drawn)), len(rates) == len(batches)
    work = sum(rates[i] * batches[i].tokens for i in rates) if whole else rate * float(total[-1])
    error = 0.0 if whole else float(np.std(drawn) / np.sqrt(len(drawn)) / rate)
    return {"work": work, "error": error, "timed": timed, "done": timed + rate * longest.tokens}


def _batches(model: Any, request: dict[str, Any]) -> list[Batch]:
    """All that is missing, as the engine will batch it; long texts first, pass by pass."""
    settings, found = request["settings"], []
    window = min(models.window(model.config), settings["max_length"] or models.window(model.config))
    budget = settings["tokens_per_batch"] or hardware.default_tokens_per_batch(model)
    for name in request["passes"]:
        texts, shards = open_texts(Path(request["texts"]) / name), Shards(Path(request["shards"]) / name)
        fits = np.flatnonzero(texts.length <= window)
        rows = np.intersect1d(fits, shards.missing(texts.ids))
        if not len(rows):
            continue
        reader = engine.Engine(model, texts, fits, budget)
        own = texts.length - reader.shared
        order = rows[np.argsort(-own[rows], kind="stable")]
        first = 0
        while first < len(order):
            batch = order[first : first + engine.fitting(own[order[first:]], reader.tokens_per_batch)]
            found.append(Batch(reader, batch, int(own[batch].sum())))
            first += len(batch)
    return found


if __name__ == "__main__":
    measure(request())
