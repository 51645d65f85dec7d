"""What to change when training does not fit the device's memory. Loads no torch."""

import itertools
from typing import Any

from qaq import cost

_OFFLOAD = {"device": "cpu"}
# As conf/train/deepspeed has them, from the least departure on.
_ENGINES: dict[str, dict[str, Any]] = {
    "zero2": {"stage": 2},
    "zero3": {"stage": 3},
    "zero2_offload": {"stage": 2, "offload_optimizer": _OFFLOAD},
    "zero3_offload": {"stage": 3, "offload_optimizer": _OFFLOAD, "offload_param": _OFFLOAD},
}
_TOLD = 3


def fitting(shape: cost.Shape, settings: dict[str, Any], ranks: int, longest: int, room: float) -> list[str]:
    """Overrides that are predicted to bring training, rows of up to `longest` tokens, into `room` bytes of each device;
    those that change least first, none that only adds to another. None of them changes what is learned."""
    micro = settings["micro_batch_size"]
    smaller = [(None, micro), *((f"train.micro_batch_size={n}", n) for n in (micro // 2, 1) if 0 < n < micro)]
    again = [(None, settings["gradient_checkpointing"])]
    if not settings["gradient_checkpointing"]:
        again.append(("train.gradient_checkpointing=true", True))
    engines: list[tuple[str | None, Any]] = [(None, settings["deepspeed"])]
    engines += [(f"train/deepspeed={name}", {"zero_optimization": zero}) for name, zero in _ENGINES.items()]

    adapter = (settings["adapter"] or {}).get("rank")

    def needed(rows: int, checkpointing: bool, engine: dict[str, Any] | None) -> float:
        memory = cost.training_memory(shape, checkpointing, settings["dtype"] == "bfloat16", ranks, engine, adapter)
        return memory.of(rows * longest)

    below = min(room, needed(micro, settings["gradient_checkpointing"], settings["deepspeed"]) - 1)  # that did not fit
    found: list[set[str]] = []
    for parts in sorted(
        itertools.product(smaller, again, engines), key=lambda parts: sum(bool(word) for word, _ in parts)
    ):
        words = {word for word, _ in parts if word}
        if needed(*(value for _, value in parts)) <= below and not any(less <= words for less in found):
            found.append(words)
    return [" ".join(sorted(words)) for words in found[:_TOLD]]


def too_large(shape: cost.Shape | None, settings: dict[str, Any], ranks: int, longest: int, room: float) -> str:
    """The message."""
    said = (f"out of memory: {room / 1e9:.0f} GB hold no pass of train.micro_batch_size={settings['micro_batch_size']} rows of up "
            f"to {longest} tokens on {ranks} rank{'s' if ranks > 1 else ''}")  # fmt: skip
    ways = fitting(shape, settings, ranks, longest, room) if shape else []
    if ways:
        return f"{said}. Predicted to fit: {'; or '.join(ways)}"
    others = (
        "" if settings["adapter"] else ", use more ranks with train/deepspeed=zero3, or train an adapter (train=lora)"
    )
    return f"{said}, and no setting here is predicted to fit: lower train.max_length{others}, or take a smaller model"
