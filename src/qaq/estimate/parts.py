"""What each part of a run has to do, counted, and how long that takes here.

`here` of a part is {seconds, error (relative standard error, of the sample alone), start (of them, seconds before and after
the work: processes, libraries, weights), peak_bytes, device, threads}, or {not_measured: why and what to do}.
"""

import json
import math
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qaq import cost, evaluate, models, reading, select
from qaq.config import pairs_for
from qaq.cost import Memory, Shape
from qaq.job import Job, Model
from qaq.launch import WorkerFailed
from qaq.score.shards import Shards
from qaq.score.texts import Texts, open_texts
from qaq.tables import digest_of_ids, read, write
from qaq.train import plan
from qaq.train.recipe import recipe

_NO_WEIGHTS = "its weights are not here: a run fetches them, or put them beside its config.json"
_READ_AT_ONCE = 2048  # tokens a scorer's batch holds at least


@dataclass(frozen=True)
class Pairs:
    """The pairs that are counted: a Parquet file, and the digest of its ids; they stand for `all`."""

    file: Path
    digest: str
    counted: int
    all: int

    @property
    def scale(self) -> float:
        """How many pairs one of them stands for."""
        return self.all / self.counted


@dataclass
class Part:
    """One part's work. tokens_error: standard error of `tokens`, 0 where they are exact; `held` of the `pairs` are scored;
    needed: bytes on an accelerator; streamed: (operations, bytes) of decoding, which memory may limit; devices: how many
    share the work (launch.nodes x launch.ranks, training alone)."""

    part: str
    model: str
    times: int
    pairs: int
    held: int = 0
    tokens: int | None = None
    tokens_error: float = 0.0
    flops: float | None = None
    memory: Memory | None = None
    needed: float = 0.0
    streamed: tuple[float, float] = (0.0, 0.0)
    devices: int = 1
    here: dict[str, Any] = field(default_factory=dict)


def sampled(job: Job, examples: Path) -> Pairs:
    """All EXAMPLES, or a random sample of them where they are more than `estimate.pairs`."""
    ids = read(examples, ["id"])["id"].to_pylist()
    most = job.cfg["estimate"]["pairs"]
    if not ids:
        raise ValueError("no usable pair to estimate from: see quarantine.jsonl")
    if len(ids) <= most:
        return Pairs(examples, digest_of_ids(ids), len(ids), len(ids))
    rows = np.sort(np.random.default_rng(0).choice(len(ids), most, replace=False))
    chosen = read(examples, ["id", "query", "answer"]).take(rows)
    file = job.dir / "estimate_sample.parquet"
    write(chosen, file)
    return Pairs(file, digest_of_ids(chosen["id"].to_pylist()), most, len(ids))


def scoring(job: Job, stage: str, spec: dict[str, Any], pairs: Pairs) -> Part:
    """One scorer's passes over the pairs no shard of the store holds."""
    part, model, scorer = Part(stage, spec["name"], 1, pairs.all), job.model(stage, spec), job.cfg["scorer"]
    if (shape := _shape(job, part, spec, model)) is None:
        return part
    texts = reading.texts(job, spec, reading.inputs(pairs.digest, model), pairs.file, model.directory)
    window = min(shape.window, scorer["max_length"] or shape.window)
    shards, longest = reading.shards(job, model), 0
    tokens, flops, missing = np.zeros(pairs.counted), 0.0, np.zeros(pairs.counted, bool)
    for name in scorer["passes"]:
        found = open_texts(texts.path / name)
        fits = found.length <= window
        todo = np.zeros(pairs.counted, bool)
        todo[Shards(shards / name).missing(found.ids)] = True
        missing |= todo
        todo &= fits
        tokens += np.where(todo, found.length, 0)
        longest = max(longest, int(found.length[fits].max(initial=0)))
        flops += _read(shape, found, fits, todo, pairs.scale)
    part.held = pairs.all - round(missing.sum() * pairs.scale)
    part.tokens, part.tokens_error = round(tokens.sum() * pairs.scale), _error(tokens, pairs.all)
    part.flops = flops
    _hold(part, shape, scorer, longest)
    ask = {"settings": scorer, "passes": scorer["passes"], "texts": str(texts.path), "shards": str(shards)}
    part.here = _scoring_here(job, part, model, ask, pairs.scale)
    return part


def training(job: Job, pairs: Pairs, timed: bool = True) -> Part:
    """The recipe on as many pairs as the budget keeps: which ones is not known yet, so they count as the mean pair. Unless
    `timed`, nothing is measured here."""
    options, spec = job.cfg["selector"], job.cfg["target"]
    count = pairs_for(job.cfg["budget"], pairs.all) if select.uses_budget(options) else pairs.all
    settings = recipe(job.cfg["train"], count / pairs.all)
    part, model = Part("train", spec["name"], len(settings["seeds"]), count), job.model("target", spec)
    if (shape := _shape(job, part, spec, model)) is None:
        return part
    sizes = (shape, settings["gradient_checkpointing"], settings["dtype"] == "bfloat16")
    part.devices = job.cfg["launch"]["nodes"] * job.cfg["launch"]["ranks"]
    adapter = (settings["adapter"] or {}).get("rank")
    part.memory = cost.training_memory(*sizes, part.devices, settings.get("deepspeed"), adapter)
    once = {**settings, "seed": settings["seeds"][0], "deepspeed": None}  # timed here, in one process
    ask = {"rows": str(pairs.file), "settings": once, "window": shape.window}
    with tempfile.TemporaryDirectory(dir=job.dir) as scratch:
        alone = {**_plain(cost.training_memory(*sizes, adapter=adapter)), "logits": cost.whole_logits(shape)}
        found = _measured(job, "qaq.train.measure", model, {**ask, "needed": alone}, Path(scratch), timed)
        rows = read(Path(scratch) / "rows.parquet")
    tokens, learned = rows["tokens"].to_numpy(), rows["learned"].to_numpy()
    kept = count / pairs.counted  # how often a counted pair is expected among the chosen
    updates = settings["updates"] or plan.updates(
        math.ceil(len(tokens) * kept), settings["batch_size"], settings["epochs"]
    )
    epochs = updates / math.ceil(len(tokens) * kept / settings["batch_size"])
    read_times = epochs * part.times
    part.tokens = round(tokens.sum() * kept * read_times)
    part.tokens_error = read_times * (_error(tokens, pairs.all) * count / pairs.all
                                              + _error_of_some(tokens, count, pairs.all))  # fmt: skip
    epoch = cost.training(shape, tokens, learned.sum(), settings["gradient_checkpointing"])
    part.flops = epoch * kept * read_times
    part.needed = part.memory.of(
        plan.split(settings["batch_size"], settings["micro_batch_size"], part.devices).micro * int(tokens.max())
    )
    part.here = _training_here(found, part.times, len(tokens) * kept * epochs, updates, part.tokens_error / part.tokens)
    return part


def evaluation(job: Job, held_out: Path | None) -> list[Part]:
    """Asking every task of the benchmark, if replies are asked for, and reading its canonical solutions and the held-out answers;
    twice where the base is evaluated too. Grading is left out: it needs no model."""
    settings, spec, asks = job.cfg["evaluate"], job.cfg["target"], job.cfg["evaluate"]["samples"] > 0
    times, tasks = len(job.cfg["train"]["seeds"]) + bool(settings["baseline"]), len(evaluate.tasks(settings))
    aside = read(held_out, ["id"]).num_rows if held_out else 0
    asking = Part("evaluate", spec["name"], times, tasks)
    answers = Part("answers", spec["name"], times, tasks + aside)
    parts, model = [asking, answers] if asks else [answers], job.model("target", spec)
    if (shape := _shape(job, answers, spec, model)) is None:
        asking.here = answers.here
        return parts
    asking.memory = cost.decoding_memory(shape, cost.BYTES[settings["dtype"]])
    ask = {"settings": settings, "needed": _plain(asking.memory)}
    with tempfile.TemporaryDirectory(dir=job.dir) as scratch:
        found = _measured(job, "qaq.evaluate.measure", model, ask, Path(scratch), asks)
        if asks:
            _replies(asking, shape, settings, read(Path(scratch) / "prompts.parquet")["prompt"].to_numpy(), found)
        _right_answers(job, answers, shape, model, Path(scratch), held_out)
    return parts


def _replies(part: Part, shape: Shape, settings: dict[str, Any], prompts: np.ndarray, found: dict[str, Any]) -> None:
    tasks, times = part.pairs, part.times
    said = found.pop("replies", [settings["max_new_tokens"]])  # not measured: as long as they may be
    replies = np.resize(said, tasks)
    part.tokens = int(prompts.sum() + replies.sum()) * times
    part.tokens_error = times * tasks * float(np.std(said)) / math.sqrt(len(said)) if len(said) < tasks else 0.0
    decoded = cost.decoding(shape, prompts, replies)
    moved = cost.decoding_bytes(shape, prompts, replies, settings["batch_size"], cost.BYTES[settings["dtype"]])
    part.flops = times * (cost.reading(shape, prompts, tasks) + decoded)
    part.streamed = (times * decoded, times * moved)
    part.needed = part.memory.of(min(settings["batch_size"], tasks) * (int(prompts.max()) + settings["max_new_tokens"]))
    part.here = found
    if "not_measured" not in found:
        part.here = _here(found, times * (found["start"] + found["work"]), found["error"], times * found["start"])


def _right_answers(job: Job, part: Part, shape: Shape, model: Model, scratch: Path, held_out: Path | None) -> None:
    """`scratch` holds canonical.parquet, and room for the texts."""
    how, texts = reading.right_answers(job), scratch / "texts"
    by = {"model": str(model.directory()), "name": part.model, "settings": how, "out": str(texts)}
    given = {"continuation": {"continuations": str(scratch / "canonical.parquet")}}
    if held_out:
        given["forward"] = {"examples": str(held_out)}
    texts.mkdir()
    for files in given.values():
        job.worker("qaq.score.tokenise", {**by, **files})
    tokens, longest, part.flops = 0, 0, 0.0
    for name in given:
        found = open_texts(texts / name)
        fits = found.length <= shape.window
        tokens, longest = tokens + int(found.length[fits].sum()), max(longest, int(found.length[fits].max(initial=0)))
        part.flops += part.times * _read(shape, found, fits, fits, 1.0)
    part.tokens = part.times * tokens
    _hold(part, shape, how, longest)
    ask = {"settings": how, "passes": list(given), "texts": str(texts), "shards": str(scratch / "shards")}
    part.here = found = _engine_here(job, part, model, ask)
    if "not_measured" not in found:  # for each kind of text one worker tokenises and one, with the weights, reads
        start = part.times * len(given) * (2 * found["start"] - found["loading"])
        part.here = _here(found, start + part.times * found["work"], found["error"], start)


def _hold(part: Part, shape: Shape, how: dict[str, Any], longest: int) -> None:
    """What the scorer's engine must hold, set as `how`: the weights, and a full batch or the longest text."""
    part.memory = cost.scoring_memory(shape, cost.BYTES[how["dtype"]])
    part.needed = part.memory.of(max(how["tokens_per_batch"] or _READ_AT_ONCE, longest))


def _read(shape: Shape, texts: Texts, fits: np.ndarray, todo: np.ndarray, scale: float) -> float:
    """Operations of one pass: what all its texts open with is read once."""
    if not todo.any():
        return 0.0
    shared = len(texts.shared(np.flatnonzero(fits)))
    targets = (texts.spans[todo, :, 1] - texts.spans[todo, :, 0]).sum()
    return scale * cost.reading(shape, texts.length[todo] - 1, targets, shared)  # of the last token nothing is read


def _shape(job: Job, part: Part, spec: dict[str, Any], model: Model) -> Shape | None:
    """The model's shape; None, with the reason in `part.here`, where it cannot be had."""
    kept = job.store.holds("model", models.VERSION, models.identity(spec), {})
    if (reason := models.absent(spec)) and not kept:
        part.here = {"not_measured": f"{reason}; until then nothing can be counted"}
        return None
    try:
        return cost.shape(model.directory())
    except WorkerFailed:
        part.here = {"not_measured": "its config.json and tokenizer could not be had (run.log says why)"}
    except ValueError as error:
        part.here = {"not_measured": str(error)}
    return None


def _measured(job: Job, module: str, model: Model, ask: dict[str, Any], out: Path,
              timed: bool = True) -> dict[str, Any]:  # fmt: skip
    """What the worker measured, with `start`, the seconds it spent on anything but the work it measured. Unless `timed`, it only
    counts."""
    directory = model.directory()
    weights = timed and models.has_weights(directory)
    request = {**ask, "model": str(directory), "seconds": job.cfg["estimate"]["seconds"], "weights": weights}
    began = time.monotonic()
    job.worker(module, {**request, "out": str(out)})
    wall = time.monotonic() - began
    if not timed:
        return {"not_measured": "nobody asked for it"}
    if not weights:
        return {"not_measured": _NO_WEIGHTS}
    found = json.loads((out / "measured.json").read_text())
    return found if "not_measured" in found else {**found, "start": max(wall - found["done"], 0.0)}


def _here(found: dict[str, Any], seconds: float, error: float, start: float) -> dict[str, Any]:
    return {"seconds": seconds, "error": error, "start": start, "timed": found["timed"],
            **{name: found[name] for name in ("peak_bytes", "device", "threads")}}  # fmt: skip


def _engine_here(job: Job, part: Part, model: Model, ask: dict[str, Any]) -> dict[str, Any]:
    """What the scorer's engine took for a sample of the texts that `ask` names."""
    if not models.has_weights(model.directory()):
        return {"not_measured": _NO_WEIGHTS}
    with tempfile.TemporaryDirectory(dir=job.dir) as out:
        return _measured(job, "qaq.score.measure", model, {**ask, "needed": part.needed}, Path(out))


def _scoring_here(job: Job, part: Part, model: Model, ask: dict[str, Any], scale: float) -> dict[str, Any]:
    if not part.tokens:
        return {"seconds": 0.0, "error": 0.0, "start": 0.0}
    if "not_measured" in (found := _engine_here(job, part, model, ask)):
        return found
    work, error = found["work"] * scale, math.hypot(found["error"], part.tokens_error / part.tokens)
    return _here(found, found["start"] + work, error, found["start"])


def _training_here(found: dict[str, Any], times: int, rows: float, updates: int, error: float) -> dict[str, Any]:
    if "not_measured" in found:
        return found
    start = times * found["start"]
    work = times * (found["token"] * found["padded"] * rows + found["optimizer"] * updates)
    return _here(found, start + work, math.hypot(found["error"], error), start)


def _error(values: np.ndarray, of: int) -> float:
    """Standard error of the sum over `of` pairs, drawn without replacement; 0 where all were counted."""
    count = len(values)
    return of * float(values.std()) / math.sqrt(count) * math.sqrt(max(1 - count / of, 0.0))


def _error_of_some(values: np.ndarray, count: int, of: int) -> float:
    """Standard error of the sum over `count` of `of` pairs nobody has chosen yet."""
    return math.sqrt(count) * float(values.std()) * math.sqrt(max(1 - count / of, 0.0))


def _plain(memory: Memory) -> dict[str, float]:
    return {"fixed": memory.fixed, "token": memory.token}
