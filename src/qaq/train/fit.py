"""The training worker: one request in, one directory out.

Departures from TRL's defaults are all in `arguments`, each with its reason. The loss of an update is the mean over
the completion tokens of its whole global batch, however that is split; the last batch of an epoch is trained with the
rows there are, as a mean over its own tokens.
"""

import json
import logging
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qaq import models, tables
from qaq.progress import Progress
from qaq.train.recipe import split
from qaq.train.rows import Row, counts, encode, fit_length

if TYPE_CHECKING:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

log = logging.getLogger(__name__)


def fit(request: dict[str, Any]) -> None:
    """Fine-tune as `request` says: {model, rows, settings, device, out}.

    model: a prepared directory. rows: Parquet with id, query, answer; their order does not matter, settings.seed
    decides it. settings: TrainConfig as plain values, with batch_size and learning_rate (see `recipe`). out: an
    existing directory, which gets model/, training.jsonl, rows.jsonl (rows dropped or cut) and counts.json.
    """
    settings, out = request["settings"], Path(request["out"])
    _check(settings)
    one_device(request["device"])
    args = arguments(settings, models.device(request["device"]), out / "checkpoints")
    quiet()
    tokenizer = models.tokenizer(Path(request["model"]))
    model = load(request["model"])
    pairs = tables.read(Path(request["rows"]), ["id", "query", "answer"]).sort_by("id").to_pylist()
    limit = _limit(settings["max_length"], models.window(model))
    rows, listed = fit_length(encode(tokenizer, pairs, settings["system_prompt"]), limit, settings["too_long"])
    tables.write_jsonl(listed, out / "rows.jsonl")
    found = counts(rows, listed)
    log.info("training on %(trained)s of %(rows)s rows (%(dropped)s dropped, %(truncated)s truncated), "
             "%(tokens)s tokens an epoch", found)  # fmt: skip
    trainer = make_trainer(model, tokenizer, args, rows)
    summary = _train(trainer, out, round(found["tokens"] * settings["epochs"]))
    _save(trainer, tokenizer, settings["dtype"], out)
    (out / "counts.json").write_text(json.dumps({**found, "limit": limit, **summary}, indent=1) + "\n")


def arguments(settings: dict[str, Any], device: str, scratch: Path) -> "SFTConfig":
    """TRL's settings for ours."""
    from trl import SFTConfig

    micro, accumulation = split(settings["batch_size"], settings["micro_batch_size"])
    return SFTConfig(
        output_dir=str(scratch),
        num_train_epochs=settings["epochs"],
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        learning_rate=settings["learning_rate"],
        lr_scheduler_type=settings["scheduler"],
        warmup_steps=_warmup(settings["warmup"]),
        weight_decay=settings["weight_decay"],
        max_grad_norm=settings["max_grad_norm"],
        optim="adamw_torch_fused",
        bf16=settings["dtype"] == "bfloat16",  # arithmetic only, see `load`
        activation_checkpointing=settings["gradient_checkpointing"],
        seed=settings["seed"],
        data_seed=_order_seed(settings["seed"]),
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        dataloader_drop_last=False,
        completion_only_loss=True,
        max_length=None,  # rows already fit; TRL would cut and drop in silence
        packing=False,
        save_strategy="no",
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would replace a broken loss by the mean of earlier ones
        include_num_input_tokens_seen="non_padding",
        report_to="none",
        disable_tqdm=True,
    )


def _warmup(fraction: float) -> float:
    """transformers reads a number below 1 as a fraction and from 1 on as steps: 100% needs the largest fraction."""
    return min(fraction, 1 - 1e-9)


def _order_seed(seed: int) -> int:
    """The sampler draws epoch e from seed + e, so neighbouring seeds would share all their epochs but one."""
    return random.Random(f"order {seed}").getrandbits(31)


def _check(settings: dict[str, Any]) -> None:
    if settings["dtype"] not in ("float32", "bfloat16"):
        raise ValueError(f"train.dtype={settings['dtype']}: training needs float32 or bfloat16 (float16 would need "
                         "loss scaling)")  # fmt: skip
    for name in ("batch_size", "learning_rate"):
        if settings[name] is None:
            raise ValueError(f"train.{name} is not set: resolve the settings with qaq.train.recipe first")


def one_device(choice: str) -> None:
    """Show this process one accelerator, unless a launcher assigns them: Trainer would spread over all it sees."""
    if choice == "cpu" or "LOCAL_RANK" in os.environ:
        return
    index = int(choice.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[index] if visible else str(index)


def quiet() -> None:
    """One progress line, ours; the libraries' own bars and hints are off."""
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def load(directory: str) -> Any:
    """Weights in float32 whatever the arithmetic: an AdamW step of 1e-5 is lost when added to a bfloat16 weight."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, local_files_only=True)


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


def make_trainer(model: Any, tokenizer: Any, args: "SFTConfig", rows: list[Row]) -> "SFTTrainer":
    """TRL's trainer over exactly `rows`."""
    from transformers import PrinterCallback

    from qaq.train.trainer import Trainer

    trainer = Trainer(model=model, args=args, train_dataset=_dataset(rows), processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    check_prepared(trainer.train_dataset, rows)
    return trainer


def check_prepared(prepared: "Dataset", rows: list[Row]) -> None:
    """RuntimeError unless TRL's dataset holds our rows, whole, with the loss on their completions only."""
    if len(prepared) != len(rows):
        raise RuntimeError(f"TRL prepared {len(prepared)} rows of {len(rows)}: it dropped rows in silence")
    for row, made in zip(rows, prepared, strict=True):
        if made["input_ids"] != row.ids or made["labels"] != [-100] * row.prompt + row.ids[row.prompt :]:
            raise RuntimeError(f"TRL changed row {row.id}: {len(made['input_ids'])} tokens of {len(row.ids)} are left, "
                               "or its labels are not the completion")  # fmt: skip


def _train(trainer: "SFTTrainer", out: Path, tokens: int) -> dict[str, Any]:
    from qaq.train.record import Record

    with Progress("training", tokens, "tokens") as progress:
        record = Record(out / "training.jsonl", progress)
        trainer.add_callback(record)
        trainer.train()
    return {"steps": trainer.state.global_step, "final_loss": record.last["loss"]}


def _save(trainer: "SFTTrainer", tokenizer: Any, dtype: str, out: Path) -> None:
    """Weights in the settings' dtype, tokenizer and template; the Trainer's own empty directory goes."""
    import torch

    model = trainer.accelerator.unwrap_model(trainer.model).to(getattr(torch, dtype))
    model.save_pretrained(out / "model")
    tokenizer.save_pretrained(out / "model")
    scratch = Path(trainer.args.output_dir)
    if scratch.is_dir() and not any(scratch.iterdir()):
        scratch.rmdir()
