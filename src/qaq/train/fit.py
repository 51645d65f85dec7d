"""The training worker: one request in, one directory out; alone, or as one of several ranks that torchrun starts.

Departures from TRL's defaults are all in `arguments`, each with its reason. The loss of an update is the mean over
the completion tokens of its whole global batch, however that is split; the last batch of an epoch is trained with the
rows there are, as a mean over its own tokens. To the Trainer the whole training is one epoch: the order is `plan`'s.
"""

import json
import logging
import os
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qaq import cost, hardware, models, tables
from qaq.progress import Progress
from qaq.store import lock
from qaq.train import checkpoints, plan
from qaq.train.rows import Row, counts, encode, fit_length

if TYPE_CHECKING:
    from datasets import Dataset
    from trl import SFTConfig

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
    _check(settings)
    one_device(request["device"])
    rank, _ = ranks()
    with lock(work / ".lock") if rank == 0 else nullcontext():  # one that outlived its run may still be at it
        _fit(request, settings, work, Path(request["out"]))


def _fit(request: dict[str, Any], settings: dict[str, Any], work: Path, out: Path) -> None:
    tokenizer = models.tokenizer(Path(request["model"]))
    pairs = tables.read(Path(request["rows"]), ["id", "query", "answer"]).sort_by("id").to_pylist()
    limit = _limit(settings["max_length"], models.window(models.config(Path(request["model"]))))
    rows, listed = fit_length(encode(tokenizer, pairs, settings["system_prompt"]), limit, settings["too_long"])
    found = counts(rows, listed)
    if ranks()[0] == 0:
        log.info("training on %(trained)s of %(rows)s rows (%(dropped)s dropped, %(truncated)s truncated), "
             "%(tokens)s tokens an epoch", found)  # fmt: skip
    batch = settings["batch_size"]
    steps = settings["updates"] or plan.updates(len(rows), batch, settings["epochs"])
    order = plan.order(len(rows), batch, steps, settings["seed"])
    split = plan.split(batch, settings["micro_batch_size"], ranks()[1])
    args = arguments(settings, models.device(request["device"]), work, split, steps)
    quiet()
    trainer = make_trainer(load(request["model"], settings), tokenizer, args, rows, plan.seats(order, split), settings)
    trainer.facts = {"order": plan.digest(order, [row.id for row in rows]), "global_batch": batch, "ranks": split.ranks,
                     "deepspeed": settings["deepspeed"]}  # fmt: skip
    last = _train(trainer, work, _costs(rows, order, request["model"], settings, trainer))
    _save(trainer, tokenizer, settings, out)
    if trainer.is_world_process_zero():
        tables.write_jsonl(listed, out / "rows.jsonl")
        (work / TRAINING).rename(out / TRAINING)
        summary = {**found, "limit": limit, "steps": steps, "final_loss": last["loss"], "ranks": split.ranks}
        (out / "counts.json").write_text(json.dumps(summary, indent=1) + "\n")


def ranks() -> tuple[int, int]:
    """(this process's rank, how many there are)."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def arguments(settings: dict[str, Any], device: str, work: Path, split: plan.Split, steps: int) -> "SFTConfig":
    """TRL's settings for ours."""
    if device == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    if settings["deepspeed"] and "RANK" not in os.environ:  # DeepSpeed would look for MPI
        os.environ.update({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1",
                           "MASTER_PORT": str(_free_port())})  # fmt: skip
    from trl import SFTConfig

    return SFTConfig(
        output_dir=str(work),
        num_train_epochs=1,
        max_steps=steps,
        per_device_train_batch_size=split.micro,
        gradient_accumulation_steps=split.passes,
        learning_rate=settings["learning_rate"],
        lr_scheduler_type=settings["scheduler"],
        warmup_steps=_warmup(settings["warmup"]),
        weight_decay=settings["weight_decay"],
        max_grad_norm=settings["max_grad_norm"],
        optim="adamw_torch_fused",
        deepspeed=_deepspeed(settings, split),
        ddp_find_unused_parameters=False,
        bf16=settings["dtype"] == "bfloat16" and not settings["deepspeed"],  # arithmetic only, see `load`
        activation_checkpointing=settings["gradient_checkpointing"],
        seed=settings["seed"],
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        completion_only_loss=True,
        max_length=None,  # rows already fit; TRL would cut and drop in silence
        packing=False,  # TRL's fills rows up to max_length: another batch than the recipe's
        padding_free=settings["packing"],
        save_strategy="steps",
        save_steps=settings["save_steps"],
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would replace a broken loss by the mean of earlier ones
        report_to="none",
        disable_tqdm=True,
    )


def _deepspeed(settings: dict[str, Any], split: plan.Split) -> dict[str, Any] | None:
    """DeepSpeed's own settings, completed by what follows from the recipe.

    `torch_autocast` and not DeepSpeed's `bf16`: the same float32 weights and bfloat16 arithmetic as without DeepSpeed.
    """
    if not settings["deepspeed"]:
        return None
    half = settings["dtype"] == "bfloat16"
    return {"train_micro_batch_size_per_gpu": split.micro,
            "gradient_accumulation_steps": split.passes, "gradient_clipping": settings["max_grad_norm"],
            "bf16": {"enabled": False}, "torch_autocast": {"enabled": half, "dtype": "bfloat16"},
            "zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False,
            **settings["deepspeed"]}  # fmt: skip


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _warmup(fraction: float) -> float:
    """transformers reads a number below 1 as a fraction and from 1 on as steps: 100% needs the largest fraction."""
    return min(fraction, 1 - 1e-9)


def _check(settings: dict[str, Any]) -> None:
    if settings["dtype"] not in ("float32", "bfloat16"):
        raise ValueError(f"train.dtype={settings['dtype']}: training needs float32 or bfloat16 (float16 would need "
                         "loss scaling)")  # fmt: skip
    for name in ("batch_size", "learning_rate"):
        if settings[name] is None:
            raise ValueError(f"train.{name} is not set: resolve the settings with qaq.train.recipe first")
    if settings["adapter"] and _engine(settings["deepspeed"]) == "zero3":
        raise ValueError(
            "train.adapter with train/deepspeed=zero3: an adapter cannot be merged into divided weights; use zero2"
        )


def one_device(choice: str) -> None:
    """Show this process one accelerator, unless a launcher assigns them: Trainer would spread over all it sees."""
    if choice == "cpu" or "LOCAL_RANK" in os.environ:
        return
    index = int(choice.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible != "":  # hidden on purpose
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[index] if visible else str(index)


def quiet() -> None:
    """One progress line, ours; the libraries' own bars and hints are off."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def load(directory: str, settings: dict[str, Any]) -> Any:
    """Weights in float32 whatever the arithmetic: an AdamW step of 1e-5 is lost when added to a bfloat16 weight.
    Under an adapter they stay as they are, so they may be bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, settings["dtype"]) if settings["adapter"] else torch.float32
    return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, local_files_only=True)


def _limit(max_length: int, window: int) -> int:
    if max_length > window:
        log.info("train.max_length=%s is beyond the model's window: rows are held to %s tokens", max_length, window)
    return min(max_length, window)


def _dataset(rows: list[Row]) -> "Dataset":
    """{input_ids, completion_mask}: TRL takes them as tokenised and masks the prompt itself."""
    import pyarrow as pa
    from datasets import Dataset

    masks = [[0] * row.prompt + [1] * (len(row.ids) - row.prompt) for row in rows]
    return Dataset(pa.table({"input_ids": pa.array([row.ids for row in rows], pa.list_(pa.int32())),
                             "completion_mask": pa.array(masks, pa.list_(pa.int8()))}))  # fmt: skip


def make_trainer(model: Any, tokenizer: Any, args: "SFTConfig", rows: list[Row], seats: np.ndarray,
                 settings: dict[str, Any]) -> "Trainer":  # fmt: skip
    """TRL's trainer over exactly `rows`, in the order of `seats`."""
    from transformers import PrinterCallback

    from qaq.train.trainer import Trainer

    rows = [*rows, Row("", [tokenizer.eos_token_id], 1)]  # nobody: read in empty places, learned nowhere
    trainer = Trainer(model=model, args=args, train_dataset=_dataset(rows), processing_class=tokenizer,
                      peft_config=_adapter(settings))  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    check_prepared(trainer.train_dataset, rows)
    trainer.seats, trainer.keep = seats.tolist(), settings["keep_checkpoints"]
    return trainer


def _adapter(settings: dict[str, Any]) -> Any:
    """LoRA on every linear layer of the body, or nothing."""
    if not settings["adapter"]:
        return None
    from peft import LoraConfig

    given = settings["adapter"]
    return LoraConfig(r=given["rank"], lora_alpha=given["alpha"], lora_dropout=given["dropout"],
                      target_modules="all-linear", task_type="CAUSAL_LM")  # fmt: skip


def check_prepared(prepared: "Dataset", rows: list[Row]) -> None:
    """RuntimeError unless TRL's dataset holds our rows, whole, with the loss on their completions only."""
    if len(prepared) != len(rows):
        raise RuntimeError(f"TRL prepared {len(prepared)} rows of {len(rows)}: it dropped rows in silence")
    for row, made in zip(rows, prepared, strict=True):
        if made["input_ids"] != row.ids or made["labels"] != [-100] * row.prompt + row.ids[row.prompt :]:
            raise RuntimeError(f"TRL changed row {row.id}: {len(made['input_ids'])} tokens of {len(row.ids)} are left, "
                               "or its labels are not the completion")  # fmt: skip


def _costs(rows: list[Row], order: np.ndarray, model: str, settings: dict[str, Any], trainer: "Trainer") -> "Costs":
    from qaq.train.record import Costs

    lengths = np.array([len(row.ids) for row in rows])
    learned = lengths - np.array([row.prompt for row in rows])
    updates = [update[update >= 0] for update in order]
    epochs, tokens = (
        np.cumsum([len(update) for update in updates]) / len(rows),
        [lengths[update].sum() for update in updates],
    )
    try:
        shape = cost.shape(Path(model))
    except ValueError as error:
        log.info("share_of_peak stays empty: %s", error)
        return Costs(epochs, np.array(tokens), None, 1.0)
    flops = [cost.training(shape, lengths[update], learned[update].sum(), settings["gradient_checkpointing"])
             for update in updates]  # fmt: skip
    rate = hardware.matrix_rate(str(trainer.args.device), settings["dtype"])
    return Costs(epochs, np.array(tokens), np.array(flops), rate * trainer.args.world_size)


def _train(trainer: "Trainer", work: Path, costs: "Costs") -> dict[str, Any]:
    """Train to the end, from the newest checkpoint there is; the last line of training.jsonl."""
    from qaq.train.record import Record, rewind

    found = _newest(trainer, work)
    done = found[1]["step"] if found else 0
    first = trainer.is_world_process_zero()
    last = rewind(work / TRAINING, done) if first else {}
    with Progress("training", int(costs.tokens[done:].sum()), "tokens") if first else nullcontext() as progress:
        record = Record(work / TRAINING, progress, costs, str(trainer.args.device))
        trainer.add_callback(record)
        trainer.train(resume_from_checkpoint=str(found[0]) if found else None)
    return record.last or last


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
    engine, ours = (_engine(facts["deepspeed"]) for facts in (manifest, trainer.facts))
    if engine != ours:
        raise ValueError(f"{folder.name} was written with train/deepspeed={engine}, this run has {ours}: go on as it was "
                         f"begun, or start over by removing {work}")  # fmt: skip
    if manifest["ranks"] != trainer.facts["ranks"] and engine != "none":
        _share_anew(trainer, folder, manifest)
    if first:
        log.info("training goes on from step %d (%s)", manifest["step"], folder)
    return found[0]


def _share_anew(trainer: "Trainer", folder: Path, manifest: dict[str, Any]) -> None:
    """Have DeepSpeed load pieces of other ranks: put together in its universal form, then divided among these.

    Of ZeRO-3 its universal form brings back the weights but not all of AdamW's state (deepspeed 0.19.8: losses moved by
    0.009 two updates later), so that is refused.
    """
    if _engine(manifest["deepspeed"]) == "zero3":
        raise ValueError(f"{folder.name} was written by {manifest['ranks']} ranks under ZeRO-3, this run has {trainer.facts['ranks']}: go on "
                         f"with as many as before, or start over by removing {folder.parent}")  # fmt: skip
    trainer.args.hf_deepspeed_config.config["checkpoint"] = {"load_universal": True}
    pieces = folder / f"global_step{manifest['step']}"
    if trainer.is_world_process_zero():
        command = [sys.executable, "-m", "deepspeed.checkpoint.ds_to_universal", "--input_folder", str(pieces), "--output_folder",
                   f"{pieces}_universal", "--inject_missing_state", "--num_extract_workers", "1", "--num_merge_workers", "1"]  # fmt: skip
        subprocess.run(command, check=True)
    trainer.accelerator.wait_for_everyone()


def _engine(deepspeed: dict[str, Any] | None) -> str:
    return f"zero{deepspeed['zero_optimization']['stage']}" if deepspeed else "none"


def _save(trainer: "Trainer", tokenizer: Any, settings: dict[str, Any], out: Path) -> None:
    """Weights in the settings' dtype, an adapter merged into them, with tokenizer and template. Every rank helps to gather
    them, the first one writes."""
    import torch
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    dtype = getattr(torch, settings["dtype"])
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped)
    if not trainer.is_world_process_zero():
        return
    if settings["adapter"]:
        model.save_pretrained(out / "adapter")
        model = model.merge_and_unload().to(dtype)
        state = model.state_dict()
    same: dict[int, torch.Tensor] = {}  # tied weights stay one tensor
    state = {name: same.setdefault(value.data_ptr(), value.to(dtype)) for name, value in state.items()}
    unset_hf_deepspeed_config()  # a model made under it would be divided
    with torch.device("meta"):  # the trained one may be divided, and what is written of dtypes is read off the model
        shell = type(model)._from_config(model.config, dtype=dtype)
    shell.generation_config = model.generation_config
    shell.save_pretrained(out / "model", state_dict=state)
    tokenizer.save_pretrained(out / "model")
