"""TRL's SFTTrainer with two changes: how bfloat16 keeps small steps, and which logits are computed on a CPU.

bfloat16 means bfloat16 weights and arithmetic with float32 master weights in the optimizer, as DeepSpeed does it.
Autocast over float32 weights, TRL's own way, takes ten times as long on a CPU; without masters an AdamW step of 1e-5
is lost when it is added to a weight of eight bits.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from trl import SFTTrainer


class MasterAdamW(torch.optim.AdamW):
    """AdamW that works on float32 copies of the weights it is given and writes them back, rounded, at each step."""

    def __init__(self, groups: Iterable[dict[str, Any]], **settings: Any) -> None:
        self.weights: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
        super().__init__([{**group, "params": self._masters(group["params"])} for group in groups], **settings)

    def _masters(self, weights: list[torch.nn.Parameter]) -> list[torch.Tensor]:
        masters = [weight.detach().float().clone() for weight in weights]
        self.weights += zip(weights, masters, strict=True)
        return masters

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """One update from the gradients that lie on the weights."""
        for weight, master in self.weights:
            master.grad = None if weight.grad is None else weight.grad.float()
        super().step(closure)
        for weight, master in self.weights:
            weight.copy_(master)
            master.grad = None


class Trainer(SFTTrainer):
    """SFTTrainer as the module's docstring says; the loss is the same number as TRL's."""

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW; with float32 masters where the weights are not float32."""
        if self.optimizer is not None or self.model.dtype == torch.float32 or self.is_deepspeed_enabled:
            return super().create_optimizer(model)
        decayed = set(self.get_decay_parameter_names(self.model))
        named = [(name, weight) for name, weight in self.model.named_parameters() if weight.requires_grad]
        groups = [{"params": [w for n, w in named if n in decayed], "weight_decay": self.args.weight_decay},
                  {"params": [w for n, w in named if n not in decayed], "weight_decay": 0.0}]  # fmt: skip
        self.optimizer = MasterAdamW(groups, lr=self.args.learning_rate, fused=True,
                                     betas=(self.args.adam_beta1, self.args.adam_beta2),
                                     eps=self.args.adam_epsilon)  # fmt: skip
        return self.optimizer

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
