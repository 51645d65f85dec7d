"""Worker: `python -m qaq.score REQUEST` reads the texts that are not scored yet and adds shards of likelihoods.

Any number of workers may run on the same texts and shards, on one machine or on many that share a disk.
"""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from qaq import hardware, models
from qaq.launch import request
from qaq.progress import Progress
from qaq.score import engine
from qaq.score.shards import SCHEMA, Shards
from qaq.score.texts import Texts, open_texts
from qaq.store import room

log = logging.getLogger(__name__)


def score(request: dict[str, Any]) -> None:
    """`request`: model (directory), name, settings, passes, texts and shards (directories), device.

    The model is loaded only if something is missing.
    """
    load = functools.cache(lambda: _load(request))
    for name in request["passes"]:
        texts, folder = open_texts(Path(request["texts"]) / name), Path(request["shards"]) / name
        with room(folder.parent, f"the likelihoods of pass {name}"):
            _score_pass(request, name, texts, Shards(folder), load)


def _score_pass(request: dict[str, Any], name: str, texts: Texts, shards: Shards, load: Callable[[], Any]) -> None:
    missing = shards.missing(texts.ids)
    if not len(missing):
        return
    reader = _Pass(load(), texts, request["settings"])
    log.info("likelihood pass %s of %s: %d texts, %d held", name, request["name"], len(missing),
             len(texts.ids) - len(missing))  # fmt: skip
    with Progress(f"{request['name']} {name}", reader.work(missing), "tok") as reader.progress:
        shards.fill(texts.ids, texts.length, missing, request["settings"]["tokens_per_shard"], reader.compute)


class _Pass:
    """Computes shards of one pass; a text over the window has NaN sums and takes nobody with it."""

    progress: Progress

    def __init__(self, model: Any, texts: Texts, settings: dict[str, Any]) -> None:
        self.texts = texts
        self.window = min(models.window(model.config), settings["max_length"] or models.window(model.config))
        budget = settings["tokens_per_batch"] or hardware.default_tokens_per_batch(model)
        fits = np.flatnonzero(texts.length <= self.window)
        self.engine = engine.Engine(model, texts, fits, budget)

    def work(self, rows: np.ndarray) -> int:
        """Tokens that will be read for `rows`: those of the texts that fit the window."""
        length = self.texts.length[rows]
        return int(length[length <= self.window].sum())

    def compute(self, rows: np.ndarray) -> pa.Table:
        """SCHEMA table of `rows`, in their order."""
        texts, fits = self.texts, self.texts.length[rows] <= self.window
        sums = np.full((len(rows), texts.spans.shape[1]), np.nan)
        if fits.any():
            sums[fits] = self.engine.sums(rows[fits], self.progress.add)
            self._check(rows[fits], sums[fits])
        tokens = texts.spans[rows, :, 1] - texts.spans[rows, :, 0]
        return pa.table([texts.ids[rows].tolist(), list(sums), list(tokens)], schema=SCHEMA)

    def _check(self, rows: np.ndarray, sums: np.ndarray) -> None:
        """ValueError for a likelihood that is no number: taken for a text that is too long, it would leave in silence."""
        wrong = rows[~np.isfinite(sums).all(axis=1)]
        if len(wrong):
            raise ValueError(f"the likelihoods of {len(wrong)} records, the first of them {self.texts.ids[wrong[0]]}, are no numbers in "
                             f"{self.engine.model.dtype}: use scorer.dtype=bfloat16 or float32")  # fmt: skip


def _load(request: dict[str, Any]) -> Any:
    model, _ = models.load(request["model"], request["settings"]["dtype"], models.device(request["device"]))
    return model


if __name__ == "__main__":
    score(request())
