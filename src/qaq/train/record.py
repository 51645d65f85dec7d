"""What a training step leaves behind: one line in training.jsonl, one move of the progress line."""

import json
import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qaq.progress import Progress


class Record(TrainerCallback):
    """Writes {step, epoch, loss, learning_rate, grad_norm, tokens, tokens_per_second} at every update.

    loss is in nats per completion token over the global batch; tokens are those of the update, prompts included and
    padding not. A loss that is no number ends the training.
    """

    def __init__(self, path: Path, progress: Progress) -> None:
        self.path, self.progress = path, progress
        self.seen = 0  # tokens since training began
        self.start = time.monotonic()
        self.last: dict[str, Any] = {}

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
                      **_: Any) -> None:  # fmt: skip
        """Starts the clock of the update."""
        self.start = time.monotonic()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
               logs: dict[str, float], **_: Any) -> None:  # fmt: skip
        """Keeps the line of an update; the summary that ends a training has no `loss` and passes by."""
        if "loss" not in logs or not state.is_world_process_zero:
            return
        seen = int(logs["num_input_tokens_seen"])
        tokens, self.seen = seen - self.seen, seen
        rate = tokens / max(time.monotonic() - self.start, 1e-9)
        line = {"step": state.global_step, "epoch": logs["epoch"], "loss": logs["loss"],
                "learning_rate": logs["learning_rate"], "grad_norm": float(logs["grad_norm"]), "tokens": tokens,
                "tokens_per_second": rate}  # fmt: skip
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        self.last = line
        self.progress.add(tokens)
        if not math.isfinite(logs["loss"]):
            raise ValueError(
                f"the loss is {logs['loss']} at step {state.global_step}, learning rate "
                f"{logs['learning_rate']:.2e}: lower train.learning_rate, or use train.dtype=float32"
            )
