"""evaluate.generator=vllm: the same prompts, limits and stop texts, answered by vLLM.

vLLM asks for an older transformers than requirements.txt, so it lives in an environment of its own (see `solutions.check`). Its
replies are not ours to the letter (other kernels, other rounding), so they have a key of their own, and a few tasks are asked of
both and compared (`generate`, `solutions.collect`). Written for vLLM 0.33's LLM and SamplingParams.
"""

from typing import TYPE_CHECKING, Any

from transformers import GenerationConfig

from qaq import decode, models
from qaq.evaluate.solutions import Unit

if TYPE_CHECKING:
    from qaq.evaluate.generate import Asking, Generator


class Vllm:
    """vLLM's engine as a generator. A worker uses one device: for several set launch.workers."""

    def __init__(self, request: dict[str, Any], asking: "Asking") -> None:
        from vllm import LLM, SamplingParams

        self.settings, self.parameters, self.protocol = request["settings"], SamplingParams, asking.protocol
        self.ends = sorted(decode.end_tokens(_generation(request["model"]), asking.tokenizer, asking.protocol.tail))
        self.engine = LLM(model=str(request["model"]), dtype=self.settings["dtype"], max_model_len=asking.window,
                          enable_prefix_caching=True, seed=0)  # fmt: skip

    def greedy(self) -> "Generator":
        """The same engine at temperature 0."""
        return lambda units, prompts, limits: self._ask(units, prompts, limits, 0.0)

    def __call__(self, units: list[Unit], prompts: list[list[int]], limits: list[int]) -> list[decode.Reply]:
        """A reply to every prompt, in order. One whose prompt leaves no room in the window is empty and capped."""
        return self._ask(units, prompts, limits, self.settings["temperature"])

    def _ask(
        self, units: list[Unit], prompts: list[list[int]], limits: list[int], temperature: float
    ) -> list[decode.Reply]:
        able = [i for i, limit in enumerate(limits) if limit > 0]
        found = [decode.Reply([], True)] * len(units)
        said = self.engine.generate([{"prompt_token_ids": prompts[i]} for i in able],
                                    [self._parameters(units[i], limits[i], temperature) for i in able],
                                    use_tqdm=False)  # fmt: skip
        for i, one in zip(able, said, strict=True):
            reply = one.outputs[0]
            found[i] = decode.Reply(list(reply.token_ids), reply.finish_reason == "length")
        return found

    def _parameters(self, unit: Unit, limit: int, temperature: float) -> Any:
        chance = {"top_p": self.settings["top_p"], "seed": unit.seed(self.settings["seed"])} if temperature else {}
        return self.parameters(temperature=temperature, max_tokens=limit, stop=list(self.protocol.stops(unit.task.dataset)),
                               stop_token_ids=self.ends, **chance)  # fmt: skip


def _generation(directory: str) -> GenerationConfig:
    """What ends a reply, as transformers would set it when it loads the model."""
    try:
        return GenerationConfig.from_pretrained(directory, local_files_only=True)
    except OSError:  # the file is optional
        return GenerationConfig.from_model_config(models.config(directory))
