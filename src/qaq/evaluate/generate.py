"""Worker: `python -m qaq.evaluate.generate REQUEST` gives the replies that nobody has given yet, batch by batch.

Any number of workers may share a folder, on one machine or on many that share a disk (`qaq.shards`): batches are the same for
any of them. Beside the replies lie asked.json (the protocol, the generator) and canonical.parquet (see `solutions.collect`).
"""

import functools
import gc
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from qaq import chat, decode, models, tables
from qaq.evaluate import benchmark, protocol, solutions
from qaq.evaluate.benchmark import Task
from qaq.evaluate.solutions import Unit
from qaq.launch import request
from qaq.progress import Progress
from qaq.shards import Shards
from qaq.store import room

log = logging.getLogger(__name__)
_CHECKED = 8  # tasks on which another generator is compared with ours

Generator = Callable[[list[Unit], list[list[int]], list[int]], list[decode.Reply]]  # (units, prompts, limits)


def generate(request: dict[str, Any]) -> None:
    """`request`: model (prepared directory), settings (EvaluateConfig), shards (directory), device."""
    settings, folder = request["settings"], Path(request["shards"])
    asking = Asking.of(request)
    folder.mkdir(parents=True, exist_ok=True)
    units = solutions.units(settings)
    with room(folder, "replies"):
        _tell(folder, asking, settings, benchmark.tasks(settings))
        load = functools.cache(lambda: LOADERS[settings["generator"]](request, asking))
        if units and settings["generator"] != "transformers":
            _check(request, folder, asking, units, load)
        _fill(solutions.replies(folder), asking, units, settings, load, "generate")


@dataclass(frozen=True)
class Asking:
    """How this model is asked: prompts as token ids, and how many may follow in its window."""

    tokenizer: Any
    protocol: protocol.Chat | protocol.Completion
    window: int

    @classmethod
    def of(cls, request: dict[str, Any]) -> "Asking":
        """How the model of a request is asked; reads no weights."""
        directory = Path(request["model"])
        tokenizer = models.tokenizer(directory)
        return cls(tokenizer, protocol.of(tokenizer, request["settings"]), models.window(models.config(directory)))

    def prompts(self, tasks: list[Task]) -> list[list[int]]:
        """Token ids of each task's prompt."""
        return chat.encode(self.tokenizer, [self.protocol.prompt(task) for task in tasks])

    def limits(self, prompts: list[list[int]], most: int) -> list[int]:
        """How many tokens each reply may have; below 1 where the window is full."""
        return [min(most, self.window - len(prompt)) for prompt in prompts]

    def text(self, reply: decode.Reply) -> str:
        """What was said, without marks."""
        return self.tokenizer.decode(reply.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)


class Room:
    """A loaded model that answers in batches."""

    def __init__(self, request: dict[str, Any], asking: Asking) -> None:
        settings = self.settings = request["settings"]
        self.model, _ = models.load(Path(request["model"]), settings["dtype"], models.device(request["device"]))
        self.pad = asking.tokenizer.pad_token_id
        ends = decode.end_tokens(self.model.generation_config, asking.tokenizer, asking.protocol.tail)
        self.ended = functools.cache(lambda data: decode.stopping(asking.tokenizer, ends, asking.protocol.stops(data)))

    def __call__(self, units: list[Unit], prompts: list[list[int]], limits: list[int]) -> list[decode.Reply]:
        """A reply to every prompt, in order. One whose prompt leaves no room in the window is empty and capped."""
        temperature, top_p = self.settings["temperature"], self.settings["top_p"]
        choose = decode.most_likely
        if temperature:
            seeds = [unit.seed(self.settings["seed"]) for unit in units]
            choose = decode.sampling(seeds, max([1, *limits]), temperature, top_p)
        ended = self.ended(units[0].task.dataset)
        return decode.replies(self.model, prompts, limits, self.pad, ended, choose)


def canonical(asking: Asking, tasks: list[Task]) -> pa.Table:
    """id, context, target: the canonical solution as the reply."""
    texts = [protocol.solution_after(asking.protocol, task) for task in tasks]
    return pa.table({
        "id": [task.task_id for task in tasks],
        "context": [context for context, _ in texts],
        "target": [target for _, target in texts],
    })  # fmt: skip


def _vllm(request: dict[str, Any], asking: Asking) -> Generator:
    from qaq.evaluate.vllm_generator import Vllm

    return Vllm(request, asking)


LOADERS: dict[str, Callable[[dict[str, Any], Asking], Generator]] = {"transformers": Room, "vllm": _vllm}


def _fill(shards: Shards, asking: Asking, units: list[Unit], settings: dict[str, Any], load: Callable[[], Generator],
          what: str) -> None:  # fmt: skip
    """A reply of each unit into `shards`; the generator is loaded only if one is missing."""
    ids = np.array([unit.id for unit in units])
    missing = shards.missing(ids)
    if not len(missing):
        return
    prompts = asking.prompts([unit.task for unit in units])
    batches = [np.array(batch) for batch in decode.batches([len(p) for p in prompts], settings["batch_size"])]

    def compute(rows: np.ndarray) -> pa.Table:
        found = _answered(
            load(), asking, [units[i] for i in rows], [prompts[i] for i in rows], settings["max_new_tokens"]
        )
        progress.add(len(rows))
        return found

    with Progress(what, len(missing), "replies") as progress:
        shards.take(ids, batches, compute)


def _answered(generator: Generator, asking: Asking, units: list[Unit], prompts: list[list[int]], most: int) -> pa.Table:
    """solutions.SCHEMA table of one batch."""
    start = time.monotonic()
    found = generator(units, prompts, asking.limits(prompts, most))
    tokens, seconds = sum(len(reply.tokens) for reply in found), time.monotonic() - start
    log.info("%d replies, %d tokens in %.1f s (%.1f a second)", len(found), tokens, seconds, tokens / seconds)
    return pa.table([[unit.id for unit in units], [asking.text(reply) for reply in found],
                     [len(reply.tokens) for reply in found], [reply.capped for reply in found]],
                    schema=solutions.SCHEMA)  # fmt: skip


def _check(
    request: dict[str, Any], folder: Path, asking: Asking, units: list[Unit], load: Callable[[], Generator]
) -> None:
    """Ask a few tasks greedily of both generators, ours first: the other may want the whole device."""
    settings = {**request["settings"], "temperature": 0.0}
    greedy = [unit for unit in units if not unit.sample]
    some = [greedy[i] for i in sorted({int(i) for i in np.linspace(0, len(greedy) - 1, _CHECKED)})]
    ours = functools.cache(lambda: Room({**request, "settings": settings}, asking))
    _fill(solutions.checked(folder, "transformers"), asking, some, settings, ours, "check")
    ours.cache_clear()
    _free()
    theirs = functools.cache(lambda: load().greedy())
    _fill(solutions.checked(folder, settings["generator"]), asking, some, settings, theirs, "check")


def _free() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _tell(folder: Path, asking: Asking, settings: dict[str, Any], tasks: list[Task]) -> None:
    """The same bytes from every worker, each file put in place whole."""
    scratch = folder / f".{os.getpid()}.tmp"
    tables.write(canonical(asking, tasks), scratch)
    scratch.replace(folder / "canonical.parquet")
    scratch.write_text(json.dumps({"protocol": asking.protocol.name, "generator": settings["generator"]}) + "\n")
    scratch.replace(folder / "asked.json")


if __name__ == "__main__":
    generate(request())
