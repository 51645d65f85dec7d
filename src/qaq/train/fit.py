"""The training worker: one request in, one directory out; alone, or as one of several ranks that torchrun starts.

The loss of an update is the mean over the completion tokens of its whole global batch, however that is split; the last
batch of an epoch is trained with the rows there are, as a mean over its own tokens. To the Trainer the whole training is one
epoch: the order is `plan`'s.
"""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qaq import cost, hardware, models, tables
from qaq.progress import Progress
from qaq.store import turn
from qaq.train import checkpoints, plan, setup
from qaq.train.fits import too_large
from qaq.train.rows import Row, counts, encode, fit_length

if TYPE_CHECKING:
    from qaq.train.record import Costs
    from qaq.train.trainer import Trainer

log = logging.getLogger(__name__)

TRAINING = "training.jsonl"


def fit(request: dict[str, Any]) -> None:
    """Fine-tune as `request` says: {model, rows, settings, device, work, out}.

    model: a prepared directory. rows: Parquet with id, query, answer; their order does not matter, settings.seed
    decides it. settings: TrainConfig as plain values, with batch_size, learning_rate (see `recipe`) and seed. work: an
    existing directory of this training alone, where checkpoints are kept and found. out: an existing directory, which
    gets model/, training.jsonl, rows.jsonl (rows dropped or cut) and counts.json.
    """
    settings, work = request["settings"], Path(request["work"])
    setup.check(settings)
    setup.one_device(request["device"])
    rank, _ = setup.ranks()
    with turn(work / ".lock", f"training in {work}") if rank == 0 else nullcontext():  # one may have outlived its run
        _fit(request, settings, work, Path(request["out"]))
        _part()


def _fit(request: dict[str, Any], settings: dict[str, Any], work: Path, out: Path) -> None:
    tokenizer = models.tokenizer(Path(request["model"]))
    pairs = tables.read(Path(request["rows"]), ["id", "query", "answer"]).sort_by("id").to_pylist()
    limit = _limit(settings["max_length"], models.window(models.config(Path(request["model"]))))
    rows, listed = fit_length(encode(tokenizer, pairs, settings["system_prompt"]), limit, settings["too_long"])
    found = counts(rows, listed)
    if setup.ranks()[0] == 0:
        log.info("training on %(trained)s of %(rows)s rows (%(dropped)s dropped, %(truncated)s truncated), "
             "%(tokens)s tokens an epoch", found)  # fmt: skip
        if settings["adapter"]:
            log.info("train.adapter: an adapter is trained, not all weights, which departs from the paper")
    batch = settings["batch_size"]
    steps = settings["updates"] or plan.updates(len(rows), batch, settings["epochs"])
    order, lengths = plan.order(len(rows), batch, steps, settings["seed"]), [len(row.ids) for row in rows]
    split = plan.split(batch, settings["micro_batch_size"], setup.ranks()[1])
    args = setup.arguments(settings, models.device(request["device"]), work, split, steps)
    setup.quiet()
    shape, device = _shape(request["model"]), str(args.device)
    with _memory(lambda: too_large(shape, settings, split.ranks, max(lengths), hardware.memory(device))):
        trainer = setup.make_trainer(
            setup.load(request["model"], settings), tokenizer, args, rows, plan.seats(order, split, lengths), settings
        )
        trainer.facts = {"order": plan.digest(order, [row.id for row in rows]), "global_batch": batch, "ranks": split.ranks,
                         "deepspeed": settings["deepspeed"]}  # fmt: skip
        _train(trainer, work, _costs(rows, order, shape, settings, trainer))
        _save(trainer, tokenizer, settings, out)
    if trainer.is_world_process_zero():
        tables.write_jsonl(listed, out / "rows.jsonl")
        shutil.copyfile(work / TRAINING, out / TRAINING)  # a build that fails after this goes on from `work`
        last = list(tables.read_jsonl(out / TRAINING))[-1]
        summary = {**found, "limit": limit, "steps": steps, "final_loss": last["loss"], "ranks": split.ranks}
        (out / "counts.json").write_text(json.dumps(summary, indent=1) + "\n")


@contextmanager
def _memory(too_large: Callable[[], str]) -> Iterator[None]:
    """MemoryError, as `too_large` words it, when the device's memory runs out."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(too_large()) from error


def _part() -> None:
    """Ranks take leave of each other: one that just ends may be aborted by the threads that talk to the others."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def _limit(max_length: int, window: int) -> int:
    if max_length > window:
        log.info("train.max_length=%s is beyond the model's window: rows are held to %s tokens", max_length, window)
    return min(max_length, window)


def _shape(model: str) -> cost.Shape | None:
    try:
        return cost.shape(Path(model))
    except ValueError as error:
        log.info("share_of_peak stays empty: %s", error)
        return None


def _costs(
    rows: list[Row], order: np.ndarray, shape: cost.Shape | None, settings: dict[str, Any], trainer: "Trainer"
) -> "Costs":
    from qaq.train.record import Costs

    lengths = np.array([len(row.ids) for row in rows])
    learned = lengths - np.array([row.prompt for row in rows])
    updates = [update[update >= 0] for update in order]
    epochs = np.cumsum([len(update) for update in updates]) / len(rows)
    tokens = [lengths[update].sum() for update in updates]
    if shape is None or settings["adapter"]:  # an adapter's backward is another count
        return Costs(epochs, np.array(tokens), None, 1.0)
    flops = [cost.training(shape, lengths[update], learned[update].sum(), settings["gradient_checkpointing"])
             for update in updates]  # fmt: skip
    rate = hardware.matrix_rate(str(trainer.args.device), settings["dtype"])
    return Costs(epochs, np.array(tokens), np.array(flops), rate * trainer.args.world_size)


def _train(trainer: "Trainer", work: Path, costs: "Costs") -> None:
    """Train to the end, from the newest checkpoint there is."""
    from qaq.train.record import Record

    trainer.record, found, done = work / TRAINING, _newest(trainer, work), 0
    first = trainer.is_world_process_zero()
    if found:
        done = found[1]["step"]
        if first:  # a killed run wrote lines beyond its checkpoint, and may have cut the last one short
            shutil.copyfile(found[0] / TRAINING, trainer.record)
    elif first:
        trainer.record.unlink(missing_ok=True)
    with Progress("training", int(costs.tokens[done:].sum()), "tokens") if first else nullcontext() as progress:
        trainer.add_callback(Record(trainer.record, progress, costs, str(trainer.args.device)))
        trainer.train(resume_from_checkpoint=str(found[0]) if found else None)


def _newest(trainer: "Trainer", work: Path) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint to go on from: found by the first rank, known to all."""
    from accelerate.utils import broadcast_object_list

    same = {name: trainer.facts[name] for name in ("order", "global_batch")}
    first = trainer.is_world_process_zero()
    found = [checkpoints.newest(work, same) if first else None]
    broadcast_object_list(found)
    if not found[0]:
        return None
    folder, manifest = found[0]
    engine, ours = (setup.engine(facts["deepspeed"]) for facts in (manifest, trainer.facts))
    if engine != ours:
        raise ValueError(f"{folder.name} was written with train/deepspeed={engine}, this run has {ours}: go on as it was "
                         f"begun, or start over by removing {work}")  # fmt: skip
    if manifest["ranks"] != trainer.facts["ranks"] and engine not in ("none", "zero0"):  # nothing is divided there
        _share_anew(trainer, folder, manifest)
    if first:
        log.info("training goes on from step %d (%s)", manifest["step"], folder)
    return found[0]


def _share_anew(trainer: "Trainer", folder: Path, manifest: dict[str, Any]) -> None:
    """Have DeepSpeed load pieces of other ranks: put together in its universal form, then divided among these.

    Of ZeRO-3 its universal form brings back the weights but not all of AdamW's state (deepspeed 0.19.8: losses moved by
    0.009 two updates later), so that is refused.
    """
    if setup.engine(manifest["deepspeed"]) == "zero3":
        raise ValueError(f"{folder.name} was written by {manifest['ranks']} ranks under ZeRO-3, this run has {trainer.facts['ranks']}: go on "
                         f"with as many as before, or start over by removing {folder.parent}")  # fmt: skip
    trainer.args.hf_deepspeed_config.config["checkpoint"] = {"load_universal": True}
    pieces = folder / f"global_step{manifest['step']}"
    if trainer.is_world_process_zero():
        command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--input_folder", str(pieces), "--output_folder",
                   f"{pieces}_universal", "--inject_missing_state", "--num_extract_workers", "1", "--num_merge_workers", "1"]  # fmt: skip
        subprocess.run(command, check=True)
    trainer.accelerator.wait_for_everyone()


def _save(trainer: "Trainer", tokenizer: Any, settings: dict[str, Any], out: Path) -> None:
    """Weights in the settings' dtype, an adapter merged into them, with tokenizer and template. Every rank helps to gather
    them, the first one writes."""
    import torch
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    if not out.is_dir():
        raise FileNotFoundError(f"{out} is gone: the run that asked for this model has ended; run it again to go on")
    first, divided = trainer.is_world_process_zero(), setup.engine(settings["deepspeed"]) == "zero3"
    if not first and not divided:
        return
    dtype = getattr(torch, settings["dtype"])
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    if not first:
        return
    if settings["adapter"]:
        model.save_pretrained(out / "adapter")
        model = model.merge_and_unload()
        state = model.state_dict()
    same: dict[int, torch.Tensor] = {}  # tied weights stay one tensor
    state = {name: same.setdefault(value.data_ptr(), value.to("cpu", dtype)) for name, value in state.items()}
    unset_hf_deepspeed_config()  # a model made under it would be divided
    with torch.device("meta"):  # the trained one may be divided, and what is written of dtypes is read off the model
        shell = type(model)._from_config(model.config, dtype=dtype)
    shell.generation_config = model.generation_config
    shell.save_pretrained(out / "model", state_dict=state)
    tokenizer.save_pretrained(out / "model")
