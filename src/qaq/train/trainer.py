"""TRL's SFTTrainer, reading exactly the planned order and keeping checkpoints that can be trusted."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy, log_softmax
from torch.utils.data import Dataset, Sampler
from trl import SFTTrainer

from qaq.store import FULL, DiskFull
from qaq.train import checkpoints

_COMPARED = 64  # last tokens of a packed row that are compared with the same row alone
_BLOCK = 2**24  # bytes: what a full disk may still have, for a writer that asks for more at once
_APART = {False: 1e-3, True: 0.5}  # nats a token's log-probability may move by rounding; True: in bfloat16


class Trainer(SFTTrainer):
    """SFTTrainer; the loss is the same number as TRL's.

    seats: row numbers of every place of every pass, -1 for none (see `plan.seats`); the dataset's last row stands for none.
    longest: the tokens of the longest row. facts: what the manifests of this run's checkpoints say. keep: complete
    checkpoints that are kept. record: the file of the updates' lines; a checkpoint holds it as it was.
    """

    seats: list[int]
    longest: list[int]
    facts: dict[str, Any]
    keep: int
    record: Path
    apart: bool = False  # whether packed rows were seen not to see each other

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler:
        return _Seats(self.seats, len(self.train_dataset) - 1)

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], return_outputs: bool = False,
                     num_items_in_batch: torch.Tensor | None = None) -> Any:  # fmt: skip
        """Summed NLL of the completion tokens of a pass over their number in the whole global batch.

        TRL's fused head skips the prompt on GPUs only; on a CPU it scores every position, in twice the time.
        """
        if self.padding_free and not self.apart:
            self._check_apart(model)
        if inputs["input_ids"].device.type != "cpu" or return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels_BT = inputs["labels"][:, 1:]
        mask_BT = labels_BT != -100
        learned = mask_BT.any(0).nonzero()
        first = int(learned[0]) if len(learned) else labels_BT.shape[1] - 1  # nothing before it is learned in any row
        kept_T = torch.arange(max(first, 0), labels_BT.shape[1])
        logits_BTV = model(**_read(inputs), use_cache=False, logits_to_keep=kept_T).logits
        mask_BT, labels_BT = mask_BT[:, kept_T], labels_BT[:, kept_T]
        nll = cross_entropy(logits_BTV[mask_BT].float(), labels_BT[mask_BT], reduction="sum")
        # The engines average over ranks what has to be summed.
        return nll * self.args.world_size / (mask_BT.sum() if num_items_in_batch is None else num_items_in_batch)

    @torch.no_grad()
    def _check_apart(self, model: torch.nn.Module) -> None:
        """ValueError unless the longest row packed behind itself is read as it is read alone. Every rank reads it, so that
        none waits for another; nothing is drawn, so a resumed training draws what it would have."""
        ids_T = torch.tensor(self.longest, device=self.args.device)
        place_T, kept = torch.arange(len(ids_T), device=ids_T.device), min(_COMPARED, len(ids_T))
        model.eval()
        together, alone = (
            log_softmax(model(input_ids=ids_T.repeat(times)[None], position_ids=place_T.repeat(times)[None],
                              use_cache=False, logits_to_keep=kept).logits[0].float(), -1)
            for times in (2, 1)
        )  # fmt: skip
        model.train()
        moved = float((together - alone).gather(1, ids_T[-kept:].roll(-1)[:, None]).abs().max())
        if moved > _APART[self.args.bf16 or self.halved]:
            raise ValueError(f"train.packing=true: rows laid end to end see each other in {type(model).__name__} (a token's "
                             f"log-probability moves by {moved:.2g}): set train.packing=false")  # fmt: skip
        self.apart = True

    @property
    def halved(self) -> bool:
        """Whether DeepSpeed runs the arithmetic in bfloat16."""
        plugin = self.accelerator.state.deepspeed_plugin
        return bool(plugin and plugin.deepspeed_config.get("torch_autocast", {}).get("enabled"))

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """As the Trainer does, then the manifest: a checkpoint without one does not count."""
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.is_world_process_zero():
                shutil.copyfile(self.record, folder / self.record.name)
                checkpoints.complete(folder, {**self.facts, "step": self.state.global_step})
                checkpoints.prune(folder.parent, self.keep)
        except Exception as error:
            if not _full(error, folder.parent):
                raise
            shutil.rmtree(folder, ignore_errors=True)  # a torn one would keep the room that is missing
            raise DiskFull(_no_room(folder, checkpoint_bytes(self.model, self.is_deepspeed_enabled))) from error
        self.accelerator.wait_for_everyone()


class _Seats(Sampler):
    """Row numbers in the planned order; `none` stands for an empty place."""

    def __init__(self, seats: list[int], none: int) -> None:
        self.seats = [none if seat < 0 else seat for seat in seats]

    def __iter__(self) -> Any:
        return iter(self.seats)

    def __len__(self) -> int:
        return len(self.seats)


def _read(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: inputs[name] for name in ("input_ids", "attention_mask", "position_ids") if name in inputs}


def checkpoint_bytes(model: torch.nn.Module, deepspeed: bool) -> int:
    """About what a checkpoint takes: the trained weights in float32 and two moments; DeepSpeed writes the weights three times,
    for transformers, for itself and as its optimizer's copy."""
    trained = sum(getattr(weight, "ds_numel", weight.numel()) for weight in model.parameters() if weight.requires_grad)
    return (20 if deepspeed else 12) * trained


def _full(error: BaseException, folder: Path) -> bool:
    """Whether a disk or a quota is full. torch and safetensors say it in words, and torch not even always."""
    told: BaseException | None = error
    while told:
        if getattr(told, "errno", None) in FULL or "No space left" in str(told):
            return True
        told = told.__cause__ or told.__context__
    return isinstance(error, RuntimeError) and shutil.disk_usage(folder).free < _BLOCK


def _no_room(folder: Path, needed: int) -> str:
    whole = sorted(folder.parent.glob(f"checkpoint-*[0-9]/{checkpoints.MANIFEST}"), key=os.path.getmtime)
    kept = f"{whole[-1].parent.name} is whole and stays" if whole else "there is none before it"
    return (f"no room for {folder.name}: it needs about {needed:,} bytes in {folder.parent}, where "
            f"{shutil.disk_usage(folder.parent).free:,} bytes are free; {kept}. Make room and start again: training goes "
            "on from it")  # fmt: skip
