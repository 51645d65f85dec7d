"""Worker: `python -m qaq.evaluate.measure REQUEST` counts the benchmark's tokens and times the asking of a few tasks.

Two things decide the time: what a step costs with b replies running, nearly c0 + c1 b, and how long replies are. A full
batch that is stopped early gives the first at b = batch; a few tasks answered to their end give the lengths and a second
point of the line.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from qaq import decode, hardware, models, tables
from qaq.evaluate import benchmark, generate, solutions
from qaq.launch import request

_STEPS = 16  # of the full batch
_FEW = 4  # tasks are answered to their end at least


def measure(request: dict[str, Any]) -> None:
    """`request`: that of `qaq.evaluate.generate`, and needed {fixed, token: bytes}, seconds, weights.

    Writes prompts.parquet (tokens of each task's prompt), canonical.parquet (`generate.canonical`) and, where `weights` says
    they are there, measured.json: see `_measured`.
    """
    settings, out = request["settings"], Path(request["out"])
    tasks, asking = benchmark.tasks(settings), generate.Asking.of(request)
    prompts = [len(ids) for ids in asking.prompts(tasks)]
    tables.write(pa.table({"prompt": prompts}), out / "prompts.parquet")
    tables.write(generate.canonical(asking, tasks), out / "canonical.parquet")
    if request["weights"]:
        found = _measured(request, asking, max(prompts))
        (out / "measured.json").write_text(json.dumps(found, indent=1) + "\n")


def generation(prompts: list[int], size: int, replies: list[int], token: float, step: tuple[float, float]) -> float:
    """Seconds of asking for `prompts` (tokens) in batches of `size`: `token` a prompt token, step[0] + step[1] b a step
    with b replies running. The lengths of `replies` stand for all."""
    total = 0.0
    for batch in decode.batches(prompts, size):
        total += token * len(batch) * max(prompts[i] for i in batch)
        lengths = np.sort(np.resize(replies, len(batch)))
        total += float(sum(step[0] + step[1] * (lengths > n).sum() for n in range(lengths.max())))
    return total


def _measured(request: dict[str, Any], asking: generate.Asking, longest: int) -> dict[str, Any]:
    """{token: seconds a prompt token, step: [c0, c1], replies: tokens of those that were answered to the end, work:
    seconds of asking every task, loading, timed, done: seconds}."""
    settings, device, units = (
        request["settings"],
        models.device(request["device"]),
        solutions.units(request["settings"]),
    )
    tokens = min(settings["batch_size"], len(units)) * (longest + settings["max_new_tokens"])
    if reason := hardware.lacking(request["needed"]["fixed"] + tokens * request["needed"]["token"], device):
        return {"not_measured": reason}
    start = time.monotonic()
    room = generate.Room(request, asking)
    loading = time.monotonic() - start
    asked = _Asked(room, asking, units)
    found = _timed(asked, request["seconds"])
    lengths = [len(prompt) for prompt in asked.prompts]
    work = generation(lengths, settings["batch_size"], found["replies"], found["token"], found["step"])
    few, mean = len(found["replies"]), float(np.mean(found["replies"]))
    error = 0.0 if few == len(units) else float(np.std(found["replies"])) / few**0.5 / mean
    return {**found, "work": work, "error": error, "loading": loading, "done": found["timed"], "peak_bytes": hardware.peak(device),
            **hardware.describe(device)}  # fmt: skip


class _Asked:
    """A loaded model and its prompts; calling it asks for some, with a limit, and tells the seconds."""

    def __init__(self, room: generate.Room, asking: generate.Asking, units: list[solutions.Unit]) -> None:
        self.room, self.asking, self.units, self.settings = room, asking, units, room.settings
        self.prompts = asking.prompts([unit.task for unit in units])

    def __call__(self, rows: list[int], limit: int) -> tuple[float, list[int]]:
        """(seconds, tokens of each reply) of at most `limit` tokens each."""
        prompts = [self.prompts[i] for i in rows]
        start = time.monotonic()
        said = self.room([self.units[i] for i in rows], prompts, self.asking.limits(prompts, limit))
        return time.monotonic() - start, [max(len(reply.tokens), 1) for reply in said]


def _timed(asked: _Asked, seconds: float) -> dict[str, Any]:
    order = sorted(range(len(asked.prompts)), key=lambda i: (-len(asked.prompts[i]), i))
    size, most = min(asked.settings["batch_size"], len(order)), asked.settings["max_new_tokens"]
    full, spent = order[:size], 0.0
    warm, _ = asked(full, 1)
    first, _ = asked(full, 1)
    longer, cut = asked(full, 1 + min(_STEPS, most))
    read = first / (size * len(asked.prompts[full[0]]))
    step = max(longer - first, 1e-9) / max(max(cut) - 1, 1)
    spent = warm + first + longer
    few = min(len(order), max(_FEW, int(size * (seconds - spent) / (step * most))))
    some = [order[i] for i in np.linspace(0, len(order) - 1, few).astype(int)]
    whole, replies = asked(some, most)
    rest = whole - read * few * max(len(asked.prompts[i]) for i in some)
    return {"token": read, "step": _line(replies, max(rest, 0.0), size, step), "replies": replies,
            "timed": spent + whole}  # fmt: skip


def _line(replies: list[int], seconds: float, size: int, step: float) -> tuple[float, float]:
    """(c0, c1) of a step's cost c0 + c1 b: through `step` at `size` running replies, and `seconds` for all `replies`."""
    steps, work = max(replies), sum(replies)
    if work >= steps * size or size == 1:  # as full as the batch: one point only
        return seconds / steps, 0.0
    slope = max((step * steps - seconds) / (size * steps - work), 0.0)
    base = max((seconds - slope * work) / steps, 0.0)
    return base, slope


if __name__ == "__main__":
    measure(request())
