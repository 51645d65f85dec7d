"""What a training step leaves behind: one line in training.jsonl, one move of the progress line."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from qaq import hardware
from qaq.progress import Progress


@dataclass(frozen=True)
class Costs:
    """Of each update: its epoch at its end, its tokens (prompts included, padding not) and its floating-point
    operations, all ranks together; `peak`: operations a second of all ranks' large matrix products."""

    epoch: np.ndarray
    tokens: np.ndarray
    flops: np.ndarray | None
    peak: float

    def share(self, step: int, seconds: float) -> float | None:
        """Of the peak, that the update of `step` reached; None where operations are not known."""
        return None if self.flops is None else float(self.flops[step - 1]) / seconds / self.peak


class Record(TrainerCallback):
    """Writes {step, epoch, loss, learning_rate, grad_norm, tokens, tokens_per_second, share_of_peak, memory_bytes} at
    every update.

    loss is in nats per completion token over the global batch; memory is the most this rank has held. A loss or a gradient
    that is no number ends the training.
    """

    def __init__(self, path: Path, progress: Progress, costs: Costs, device: str) -> None:
        self.path, self.progress, self.costs, self.device = path, progress, costs, device
        self.start = time.monotonic()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
                      **_: Any) -> None:  # fmt: skip
        """Starts the clock of the update."""
        self.start = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
                    **_: Any) -> None:  # fmt: skip
        """No checkpoint after the last update: the trained model itself follows."""
        if state.global_step >= state.max_steps:
            control.should_save = False

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
               logs: dict[str, float], **_: Any) -> None:  # fmt: skip
        """Keeps the line of an update; the summary that ends a training has no `loss` and passes by."""
        if "loss" not in logs:
            return
        norm = logs.get("grad_norm")  # DeepSpeed without ZeRO does not say
        norm = None if norm is None else float(norm)
        if state.is_world_process_zero:
            self._keep(state.global_step, logs, norm)
        for name, value in (("loss", logs["loss"]), ("gradient's norm", norm or 0.0)):
            if not math.isfinite(value):  # of a gradient: the update it makes spoils the weights, the last one unseen
                raise ValueError(
                    f"the {name} is {value} at step {state.global_step}, learning rate "
                    f"{logs['learning_rate']:.2e}: lower train.learning_rate, or use train.dtype=float32"
                )

    def _keep(self, step: int, logs: dict[str, float], norm: float | None) -> None:
        seconds = max(time.monotonic() - self.start, 1e-9)
        tokens = int(self.costs.tokens[step - 1])
        line = {"step": step, "epoch": float(self.costs.epoch[step - 1]), "loss": logs["loss"],
                "learning_rate": logs["learning_rate"], "grad_norm": norm, "tokens": tokens,
                "tokens_per_second": tokens / seconds,
                "share_of_peak": self.costs.share(step, seconds), "memory_bytes": hardware.peak(self.device)}  # fmt: skip
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        self.progress.add(tokens)
