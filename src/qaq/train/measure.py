"""Worker: `python -m qaq.train.measure REQUEST` counts the rows' tokens and times updates on a few of them.

The timed updates are the real ones (`fit`'s model, arguments and trainer) on rows spread evenly over the lengths, in
random order, as training meets them. Time goes with padded tokens, and once an update into the optimizer.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from qaq import hardware, models, tables
from qaq.launch import request
from qaq.train import setup
from qaq.train.plan import seats, split
from qaq.train.rows import Row, counts, encode, fit_length

_ROWS = 2048  # as many are put before the trainer; it stops after `seconds`
_PASSES = 4  # an update adds up this many at most while it is timed: passes and optimizer are timed apart
# From the sample's peak to the run's: 1.1 times in a run of 12 updates, 1.36 in one of 19, and 1.44 and 1.53, with SmolLM2-135M.
_HEAP_GROWS = 1.4


def measure(request: dict[str, Any]) -> None:
    """`request`: {model, rows, settings (as for `fit`), needed {fixed, token, logits: bytes}, seconds, weights, device, out}.

    Writes rows.parquet (tokens and learned tokens of each row that will be trained on), counts.json and, where
    `weights` says they are there, measured.json: {padded: padded tokens a row, token: seconds a padded token, optimizer:
    seconds an update, error: of `token`, relative, timed, done: seconds}.
    """
    settings, out = request["settings"], Path(request["out"])
    tokenizer = models.tokenizer(Path(request["model"]))
    pairs = tables.read(Path(request["rows"]), ["id", "query", "answer"]).sort_by("id").to_pylist()
    limit = min(settings["max_length"], request["window"])
    rows, listed = fit_length(encode(tokenizer, pairs, settings["system_prompt"]), limit, settings["too_long"])
    tables.write(pa.table({"tokens": [len(row.ids) for row in rows],
                           "learned": [len(row.ids) - row.prompt for row in rows]}), out / "rows.parquet")  # fmt: skip
    (out / "counts.json").write_text(json.dumps(counts(rows, listed)))
    if request["weights"]:
        found = _measured(request, tokenizer, rows)
        (out / "measured.json").write_text(json.dumps(found, indent=1) + "\n")


def padded(lengths: np.ndarray, batch: int, micro: int) -> int:
    """Tokens of `lengths`, `batch` an update, of which the longest go first, `micro` a pass, each padded to its pass's longest."""
    updates = [-np.sort(-lengths[first : first + batch]) for first in range(0, len(lengths), batch)]
    parts = [update[first : first + micro] for update in updates for first in range(0, len(update), micro)]
    return sum(len(part) * int(part[0]) for part in parts)


def spread(rows: list[Row], count: int) -> list[Row]:
    """The longest row, then at most `count` - 1 others evenly spread over the lengths, in random order."""
    order = sorted(rows, key=lambda row: (-len(row.ids), row.id))
    places = np.unique(np.linspace(1, len(order) - 1, min(count, len(order)) - 1).astype(int)) if len(order) > 1 else []
    return [order[0], *(order[i] for i in np.random.default_rng(0).permutation(places))]


def _measured(request: dict[str, Any], tokenizer: Any, rows: list[Row]) -> dict[str, Any]:
    settings, needed = request["settings"], request["needed"]
    whole = split(settings["batch_size"], settings["micro_batch_size"])
    micro = whole.micro
    longest = max(len(row.ids) for row in rows)
    setup.one_device(request["device"])
    device = models.device(request["device"]).partition(":")[0]  # the one that is left to see
    token = needed["token"] + (needed["logits"] if device == "cpu" else 0)
    if reason := hardware.lacking(needed["fixed"] + micro * longest * token, device):
        return {"not_measured": reason}
    batch = micro * min(whole.passes, _PASSES)
    chosen = spread(rows, _ROWS)
    updates, loading = _timed(request, tokenizer, chosen, {**settings, "batch_size": batch})
    lengths = np.array([len(row.ids) for row in chosen])
    tokens = [padded(lengths[i * batch : (i + 1) * batch], batch, micro) for i in range(len(updates))]
    shuffled = np.random.default_rng(1).permutation([len(row.ids) for row in rows])
    return {"padded": padded(shuffled, settings["batch_size"], micro) / len(rows), **_rates(updates, tokens), "loading": loading,
            "peak_bytes": hardware.expected(device, _HEAP_GROWS), **hardware.describe(device)}  # fmt: skip


def _rates(updates: list[tuple[float, float]], tokens: list[int]) -> dict[str, float]:
    """What the updates, (seconds of the passes, of the optimizer), say; the first only warms up."""
    kept = slice(1, None) if len(updates) > 1 else slice(None)
    passes, steps = np.array(updates[kept]).T
    read = np.array(tokens[kept])
    rate, optimizer = float(passes.sum() / read.sum()), float(np.median(steps))
    off = passes - rate * read
    error = float(np.sqrt((off**2).sum() / max(len(off) - 1, 1) * len(off)) / passes.sum()) if len(off) > 1 else 0.0
    done = rate * sum(tokens) + optimizer * len(updates)
    return {"token": rate, "optimizer": optimizer, "error": error, "timed": float(passes.sum() + steps.sum()),
            "done": done}  # fmt: skip


def _timed(request: dict[str, Any], tokenizer: Any, rows: list[Row],
           settings: dict[str, Any]) -> tuple[list[tuple[float, float]], float]:  # fmt: skip
    """(Seconds of the passes and of the optimizer) of each update on `rows` in their order; seconds of loading."""
    from qaq.train.clock import Clock

    whole = split(settings["batch_size"], settings["micro_batch_size"])
    order = np.full((-(-len(rows) // whole.slots), whole.slots), -1, np.int32)
    order.flat[: len(rows)] = np.arange(len(rows))
    args = setup.arguments(settings, models.device(request["device"]), Path(request["out"]), whole, len(order))
    args.save_strategy = "no"
    setup.quiet()
    start = time.monotonic()
    model = setup.load(request["model"], settings)
    loading = time.monotonic() - start
    clock = Clock(request["seconds"])
    places = seats(order, whole, np.array([len(row.ids) for row in rows]))
    trainer = setup.make_trainer(model, tokenizer, args, rows, places, settings)
    trainer.add_callback(clock)
    trainer.train()
    return clock.updates, loading


if __name__ == "__main__":
    measure(request())
