"""TRL's SFTTrainer, with the loss on a CPU computed from the logits that matter only."""

from typing import Any

import torch
from torch.nn.functional import cross_entropy
from trl import SFTTrainer


class Trainer(SFTTrainer):
    """SFTTrainer; the loss is the same number as TRL's."""

    def compute_loss(self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], return_outputs: bool = False,
                     num_items_in_batch: torch.Tensor | None = None) -> Any:  # fmt: skip
        """Summed NLL of the completion tokens of a pass over their number in the whole global batch.

        TRL's fused head skips the prompt on GPUs only; on a CPU it scores every position, in twice the time.
        """
        if inputs["input_ids"].device.type != "cpu" or return_outputs or self.args.world_size > 1:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels_BT = inputs["labels"][:, 1:]
        mask_BT = labels_BT != -100
        first = int(mask_BT.any(0).nonzero()[0])  # nothing before it is learned in any row of this pass
        kept_T = torch.arange(first, labels_BT.shape[1])
        logits_BTV = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False,
                           logits_to_keep=kept_T).logits  # fmt: skip
        mask_BT, labels_BT = mask_BT[:, first:], labels_BT[:, first:]
        nll = cross_entropy(logits_BTV[mask_BT].float(), labels_BT[mask_BT], reduction="sum")
        return nll / (mask_BT.sum() if num_items_in_batch is None else num_items_in_batch)
