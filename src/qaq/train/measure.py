"""Worker: `python -m qaq.train.measure REQUEST` counts the rows' tokens and times updates on a few of them.

The timed updates are the real ones (`fit`'s model, arguments and trainer) on rows spread evenly over the lengths, in
random order, as training meets them. Time goes with padded tokens, and once an update into the optimizer.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from qaq import hardware, models, tables
from qaq.launch import request
from qaq.train import setup
from qaq.train.plan import Split, order, padded, seats, split, updates
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


def spread(rows: list[Row], count: int) -> list[Row]:
    """The longest row, then at most `count` - 1 others evenly spread over the lengths, in random order."""
    falling = sorted(rows, key=lambda row: (-len(row.ids), row.id))
    places = (
        np.unique(np.linspace(1, len(falling) - 1, min(count, len(falling)) - 1).astype(int))
        if len(falling) > 1
        else []
    )
    return [falling[0], *(falling[i] for i in np.random.default_rng(0).permutation(places))]


def _measured(request: dict[str, Any], tokenizer: Any, rows: list[Row]) -> dict[str, Any]:
    settings, needed = request["settings"], request["needed"]
    whole, lengths = split(settings["batch_size"], settings["micro_batch_size"]), _lengths(rows)
    setup.one_device(request["device"])
    device = models.device(request["device"]).partition(":")[0]  # the one that is left to see
    token = needed["token"] + (needed["logits"] if device == "cpu" else 0)
    if reason := hardware.lacking(needed["fixed"] + whole.micro * int(lengths.max()) * token, device):
        return {"not_measured": reason}
    chosen, few = spread(rows, _ROWS), split(whole.micro * min(whole.passes, _PASSES), whole.micro)
    places = np.full((-(-len(chosen) // few.slots), few.slots), -1, np.int32)
    places.flat[: len(chosen)] = np.arange(len(chosen))
    dealt = seats(places, few, _lengths(chosen))
    taken, loading = _timed(request, tokenizer, chosen, dealt, few)
    tokens = padded(dealt, few.micro, _lengths(chosen)).reshape(len(places), few.passes).sum(axis=1)[: len(taken)]
    epoch = order(len(rows), settings["batch_size"], updates(len(rows), settings["batch_size"], 1), settings["seed"])
    read = padded(seats(epoch, whole, lengths), whole.micro, lengths).sum()
    return {"padded": float(read / len(rows)), **_rates(taken, tokens), "loading": loading,
            "peak_bytes": hardware.expected(device, _HEAP_GROWS), **hardware.describe(device)}  # fmt: skip


def _lengths(rows: list[Row]) -> np.ndarray:
    return np.array([len(row.ids) for row in rows])


def _rates(taken: list[tuple[float, float]], tokens: Sequence[int]) -> dict[str, float]:
    """What the updates, (seconds of the passes, of the optimizer), say; the first only warms up."""
    kept = slice(1, None) if len(taken) > 1 else slice(None)
    passes, steps = np.array(taken[kept]).T
    read = np.array(tokens[kept])
    rate, optimizer = float(passes.sum() / read.sum()), float(np.median(steps))
    off = passes - rate * read
    error = float(np.sqrt((off**2).sum() / max(len(off) - 1, 1) * len(off)) / passes.sum()) if len(off) > 1 else 0.0
    done = rate * float(sum(tokens)) + optimizer * len(taken)
    return {"token": rate, "optimizer": optimizer, "error": error, "timed": float(passes.sum() + steps.sum()),
            "done": done}  # fmt: skip


def _timed(request: dict[str, Any], tokenizer: Any, rows: list[Row], places: np.ndarray,
           whole: Split) -> tuple[list[tuple[float, float]], float]:  # fmt: skip
    """(Seconds of the passes and of the optimizer) of each update, `whole`, on the rows in `places`; seconds of loading."""
    from qaq.train.clock import Clock

    settings = {**request["settings"], "batch_size": whole.slots}
    args = setup.arguments(
        settings, models.device(request["device"]), Path(request["out"]), whole, len(places) // whole.slots
    )
    args.save_strategy = "no"
    setup.quiet()
    start = time.monotonic()
    model = setup.load(request["model"], settings)
    loading = time.monotonic() - start
    clock = Clock(request["seconds"])
    trainer = setup.make_trainer(model, tokenizer, args, rows, places, settings)
    trainer.add_callback(clock)
    trainer.train()
    return clock.updates, loading


if __name__ == "__main__":
    measure(request())
