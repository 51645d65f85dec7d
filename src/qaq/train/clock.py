"""Times the updates of a training run, and ends it when enough are timed."""

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Clock(TrainerCallback):
    """`updates`: (seconds of an update's passes, seconds of its optimizer step). The first does not count towards
    `seconds`: memory is still growing."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.updates: list[tuple[float, float]] = []
        self.began = self.stepped = 0.0

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
                      **_: Any) -> None:  # fmt: skip
        """The first pass of an update begins."""
        self.began = time.monotonic()

    def on_pre_optimizer_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
                              **_: Any) -> None:  # fmt: skip
        """The passes are over."""
        self.stepped = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The update is over."""
        now = time.monotonic()
        self.updates.append((self.stepped - self.began, now - self.stepped))
        if sum(passes + step for passes, step in self.updates[1:]) >= self.seconds:
            control.should_training_stop = True
