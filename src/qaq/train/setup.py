"""TRL, DeepSpeed and peft, set up as the recipe says.

Departures from TRL's defaults are all in `arguments`, each with its reason.
"""

import logging
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qaq.train.plan import Split
from qaq.train.rows import Row

if TYPE_CHECKING:
    from datasets import Dataset
    from trl import SFTConfig

    from qaq.train.trainer import Trainer


log = logging.getLogger(__name__)

_DEEPSPEED = {"zero_optimization", "comms_logger", "wall_clock_breakdown", "steps_per_print", "aio"}
# of zero_optimization: what rounds or delays the exchange (deepspeed/runtime/zero/config.py)
_LOSSY = ("zero_quantized_weights", "zero_quantized_nontrainable_weights", "zero_quantized_gradients", "zenflow")


def check(settings: dict[str, Any]) -> None:
    if settings["dtype"] not in ("float32", "bfloat16"):
        raise ValueError(f"train.dtype={settings['dtype']}: training needs float32 or bfloat16 (float16 would need "
                         "loss scaling)")  # fmt: skip
    for name in ("batch_size", "learning_rate"):
        if settings[name] is None:
            raise ValueError(f"train.{name} is not set: resolve the settings with qaq.train.recipe first")
    foreign = set(settings["deepspeed"] or {}) - _DEEPSPEED
    if foreign:
        raise ValueError(f"train.deepspeed.{min(foreign)}: only {', '.join(sorted(_DEEPSPEED))} may be set there; what changes the "
                         "result is set by the recipe's own options, and is part of the result's key")  # fmt: skip
    zero = (settings["deepspeed"] or {}).get("zero_optimization")
    if settings["deepspeed"] and (zero or {}).get("stage") not in (0, 1, 2, 3):
        raise ValueError("train.deepspeed needs zero_optimization.stage, 0 to 3 (train/deepspeed=none: no DeepSpeed)")
    lossy = [name for name in _LOSSY if (zero or {}).get(name)]
    if lossy or (zero or {}).get("compute_grad_norm") is False:
        raise ValueError(f"train.deepspeed.zero_optimization.{(lossy or ['compute_grad_norm'])[0]} changes what is learned, and is no "
                         "part of the result's key: leave it out")  # fmt: skip
    if settings["adapter"] and engine(settings["deepspeed"]) == "zero3":
        raise ValueError(
            "train.adapter with train/deepspeed=zero3: an adapter cannot be merged into divided weights; use zero2"
        )


def ranks() -> tuple[int, int]:
    """(this process's rank, how many there are)."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


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


def arguments(settings: dict[str, Any], device: str, work: Path, split: Split, steps: int) -> "SFTConfig":
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
        ddp_timeout=6 * 3600,  # seconds: the others wait while the first rank checks a large checkpoint on a slow disk
        bf16=settings["dtype"] == "bfloat16" and not settings["deepspeed"],  # arithmetic only, see `load`
        activation_checkpointing=settings["gradient_checkpointing"],
        use_cache=True,  # what the saved config.json says to who generates; the passes here ask for none
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


def _warmup(fraction: float) -> float:
    """transformers reads a number below 1 as a fraction and from 1 on as steps: 100% needs the largest fraction."""
    return min(fraction, 1 - 1e-9)


def _deepspeed(settings: dict[str, Any], split: Split) -> dict[str, Any] | None:
    """DeepSpeed's own settings, completed by what follows from the recipe.

    `torch_autocast` and not DeepSpeed's `bf16`: the same float32 weights and bfloat16 arithmetic as without DeepSpeed. Ranks
    exchange float32 gradients; under ZeRO-3 those of the matrices are bfloat16, as are the gathered matrices, which arithmetic
    reads in that format anyway: gathered in float32, autocast would keep a copy of every one.
    """
    if not settings["deepspeed"]:
        return None
    autocast = {"enabled": settings["dtype"] == "bfloat16", "dtype": "bfloat16"}
    if engine(settings["deepspeed"]) != "zero3":
        autocast["lower_precision_safe_modules"] = []  # gradients are added up in float32
    return {**settings["deepspeed"], "train_micro_batch_size_per_gpu": split.micro,
            "gradient_accumulation_steps": split.passes, "gradient_clipping": settings["max_grad_norm"],
            "bf16": {"enabled": False}, "torch_autocast": autocast,
            "zero_allow_untested_optimizer": True, "zero_force_ds_cpu_optimizer": False}  # fmt: skip


def engine(deepspeed: dict[str, Any] | None) -> str:
    return f"zero{deepspeed['zero_optimization']['stage']}" if deepspeed else "none"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def load(directory: str, settings: dict[str, Any]) -> Any:
    """Weights in float32 whatever the arithmetic: an AdamW step of 1e-5 is lost when added to a bfloat16 weight.
    Under an adapter they stay as they are, so they may be bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, settings["dtype"]) if settings["adapter"] else torch.float32
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, local_files_only=True)
    config = model.config.get_text_config().to_dict()
    drawn = [f"{name}={value:g}" for name, value in config.items()
             if name.endswith(("dropout", "pdrop")) and isinstance(value, float) and value > 0]  # fmt: skip
    if drawn:
        log.warning("the model's own %s: how rows are read (micro-batches, packing, ranks) now changes what is drawn, and so "
                    "the result a little, under the same key", ", ".join(drawn))  # fmt: skip
    return model


def make_trainer(model: Any, tokenizer: Any, args: "SFTConfig", rows: list[Row], seats: np.ndarray,
                 settings: dict[str, Any]) -> "Trainer":  # fmt: skip
    """TRL's trainer over exactly `rows`, in the order of `seats`."""
    from transformers import PrinterCallback, set_seed

    from qaq.train.trainer import Trainer

    set_seed(settings["seed"])  # an adapter's start is drawn before the Trainer sets it
    rows = [*rows, Row("", [tokenizer.eos_token_id], 1)]  # nobody: read in empty places, learned nowhere
    trainer = Trainer(model=model, args=args, train_dataset=_dataset(rows), processing_class=tokenizer,
                      peft_config=_adapter(settings))  # fmt: skip
    trainer.remove_callback(PrinterCallback)
    check_prepared(trainer.train_dataset, rows)
    trainer.seats, trainer.keep = seats.tolist(), settings["keep_checkpoints"]
    trainer.longest = max((row.ids for row in rows), key=len)
    return trainer


def _adapter(settings: dict[str, Any]) -> Any:
    """LoRA on every linear layer of the body, or nothing."""
    if not settings["adapter"]:
        return None
    from peft import LoraConfig

    given = settings["adapter"]
    return LoraConfig(r=given["rank"], lora_alpha=given["alpha"], lora_dropout=given["dropout"],
                      target_modules="all-linear", task_type="CAUSAL_LM")  # fmt: skip


def _dataset(rows: list[Row]) -> "Dataset":
    """{input_ids, completion_mask}: TRL takes them as tokenised and masks the prompt itself."""
    import pyarrow as pa
    from datasets import Dataset

    masks = [[0] * row.prompt + [1] * (len(row.ids) - row.prompt) for row in rows]
    return Dataset(pa.table({"input_ids": pa.array([row.ids for row in rows], pa.list_(pa.int32())),
                             "completion_mask": pa.array(masks, pa.list_(pa.int8()))}))  # fmt: skip


def check_prepared(prepared: "Dataset", rows: list[Row]) -> None:
    """RuntimeError unless TRL's dataset holds our rows, whole, with the loss on their completions only."""
    if len(prepared) != len(rows):
        raise RuntimeError(f"TRL prepared {len(prepared)} rows of {len(rows)}: it dropped rows in silence")
    for row, made in zip(rows, prepared, strict=True):
        if made["input_ids"] != row.ids or made["labels"] != [-100] * row.prompt + row.ids[row.prompt :]:
            raise RuntimeError(f"TRL changed row {row.id}: {len(made['input_ids'])} tokens of {len(row.ids)} are left, "
                               "or its labels are not the completion")  # fmt: skip
