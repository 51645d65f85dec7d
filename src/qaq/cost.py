"""What a model costs, from its config.json alone: parameters, floating-point operations, bytes. Loads no torch, no weights.

A multiply-add is two operations. The body's matrices are used once a token, the vocabulary projection only where a token
is predicted, attention once for each pair of positions that sees the other. Norms, biases and activations are left out:
less than 1% of either count.

Letters as in the architecture: D hidden width, L layers, Q width of all query heads, K width of all key heads, F width of
the MLP, V vocabulary.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
# Layers of q, k, v, o and a gated MLP of three matrices; other shapes would be counted wrongly, so they are refused.
_KNOWN = ("gemma", "granite", "llama", "mistral", "olmo2", "qwen2", "qwen3", "smollm3")
_TIED = ("gemma", "smollm3")  # where config.json does not say
# of a parameter of training (train/fit.py): fp32 weight, its gradient, AdamW's two moments; a bf16 copy autocast makes
_WEIGHT, _GRADIENT, _MOMENTS, _AUTOCAST = 4, 4, 8, 2
# DeepSpeed's defaults, in numbers: gradients that are reduced at once, and weights that ZeRO-3 keeps gathered
# (deepspeed/runtime/zero/config.py, reduce_bucket_size and stage3_max_live_parameters)
_BUCKET, _LIVE = 5e8, 1e9
# of a logit of training on a CPU: bf16, float32, its log-probability, and their gradients
_LOGIT_BYTES = 16
# On a GPU TRL holds a tile of the logits, (tokens, words) at once (trl/kernels/chunked_logprob.py)
_TILE = 4096, 32768
_LOGITS_AT_ONCE = 2**24 * 4 * 2  # scoring holds that many bytes of logits, and of their log-probabilities


@dataclass(frozen=True)
class Shape:
    """The numbers of a dense decoder that its costs follow from; widths as in the module's letters."""

    hidden: int
    layers: int
    query: int
    key: int
    mlp: int
    vocabulary: int
    tied: bool
    window: int

    @property
    def body(self) -> int:
        """Parameters of the layers' matrices: those a token is multiplied with."""
        attention = 2 * self.hidden * self.query + 2 * self.hidden * self.key
        return self.layers * (attention + 3 * self.hidden * self.mlp)

    @property
    def head(self) -> int:
        """Parameters of the vocabulary projection."""
        return self.hidden * self.vocabulary

    @property
    def parameters(self) -> int:
        """All matrices; a tied projection is the embedding."""
        return self.body + self.head * (1 if self.tied else 2)

    @property
    def cache_bytes(self) -> int:
        """Keys and values of one token in two-byte numbers."""
        return 2 * 2 * self.layers * self.key


def shape(directory: Path) -> Shape:
    """The shape `config.json` describes. ValueError, naming the model type, for one whose layers we do not know."""
    config = json.loads((directory / "config.json").read_text())
    return of_config(config.get("text_config") or config)


def of_config(config: dict[str, Any]) -> Shape:
    """The same from the file's values."""
    kind = config.get("model_type")
    if kind not in _KNOWN:
        raise ValueError(f"model_type {kind!r} is not counted; known: {', '.join(_KNOWN)}. A "
                         "run does not need the count: stages=[load,score] with a small data.limit shows the time")  # fmt: skip
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    return Shape(
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        query=heads * width,
        key=(config.get("num_key_value_heads") or heads) * width,
        mlp=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        tied=config.get("tie_word_embeddings", kind in _TIED),
        window=config.get("max_position_embeddings", 2**31),
    )


def reading(model: Shape, lengths: np.ndarray, targets: float, shared: int = 0) -> float:
    """Operations of reading texts of `lengths` tokens that open with the same `shared` ones (read once), and of
    predicting `targets` of their tokens."""
    own = np.asarray(lengths, float) - shared
    tokens, seen = own.sum() + shared, (own * (shared + own / 2)).sum() + shared**2 / 2
    return float(2 * model.body * tokens + 4 * model.query * model.layers * seen + 2 * model.head * targets)


def training(model: Shape, lengths: np.ndarray, targets: float, checkpointing: bool) -> float:
    """Operations of one epoch: forward, twice that backward, and the body's forward again where it is recomputed (but
    for each layer's last matrix, whose result nothing needs)."""
    last = 2 * model.layers * model.hidden * model.mlp * float(np.sum(lengths))
    again = reading(model, lengths, 0) - last if checkpointing else 0.0
    return 3 * reading(model, lengths, targets) + again


def decoding(model: Shape, prompts: np.ndarray, replies: np.ndarray) -> float:
    """Operations of `replies` new tokens after each of `prompts` tokens, all but the prompts' own reading."""
    pairs = (np.asarray(replies, float) * (np.asarray(prompts) + np.asarray(replies) / 2)).sum()
    return float(2 * (model.body + model.head) * np.sum(replies) + 4 * model.query * model.layers * pairs)


def decoding_bytes(model: Shape, prompts: np.ndarray, replies: np.ndarray, batch: int, item: int) -> float:
    """Bytes read by decoding in batches: all weights once a step, and every running row's keys and values."""
    steps = sum(int(np.max(replies[i : i + batch])) for i in range(0, len(replies), batch))
    positions = (np.asarray(replies, float) * (np.asarray(prompts) + np.asarray(replies) / 2)).sum()
    return float(steps * (model.body + model.head) * item + positions * model.cache_bytes)


@dataclass(frozen=True)
class Memory:
    """Bytes a device must hold: `fixed`, and `token` for each token read at once; `states` of the fixed ones could be divided
    among devices (ZeRO-3) and are not. `host`: bytes in the machine's own memory for each device (offload)."""

    fixed: float
    token: float
    states: float = 0.0
    host: float = 0.0

    def of(self, tokens: float) -> float:
        """All of them."""
        return self.fixed + tokens * self.token


def scoring_memory(model: Shape, item: int) -> Memory:
    """The weights and the logits held at a time; a token takes 24 vectors of the hidden width and 6 of the MLP's, as the
    engine assumes (qaq.score.engine)."""
    return Memory(model.parameters * item + _LOGITS_AT_ONCE, (24 * model.hidden + 6 * model.mlp) * item)


def training_memory(model: Shape, checkpointing: bool, mixed: bool, ranks: int = 1,
                    deepspeed: dict[str, Any] | None = None, adapter: int | None = None) -> Memory:  # fmt: skip
    """Weights, gradients and moments, and what a pass keeps for its backward, every token being learned; on each of `ranks`,
    which share the states as the DeepSpeed configuration says (None: each holds all of them, DDP). Under an `adapter` of that
    rank each holds the frozen weights, in the arithmetic's format, and its states are not divided: they are small.

    In bf16 arithmetic a token keeps, a layer, about 26 D bytes (two norms in float32, and the inputs of the matrices),
    8 Q + 8 K (queries, keys and values before and after the rotation) and 8 F. The logits are a GPU's: a tile at a time, computed
    again for the backward, with a float32 gradient of the head and of the last hidden states; a CPU's: `whole_logits`.
    """
    layer = (26 * model.hidden + 8 * model.query + 8 * model.key + 8 * model.mlp) * (1 if mixed else 2)
    kept = model.layers * 4 * model.hidden + layer if checkpointing else model.layers * layer
    token = kept + 12 * model.hidden  # the states that are projected, their copy without the prompt, their gradient
    tokens, words = _TILE[0], min(_TILE[1], model.vocabulary)
    tile = words * (tokens + model.hidden) * (_AUTOCAST if mixed else _WEIGHT)
    if adapter:
        frozen = model.parameters * (_AUTOCAST if mixed else _WEIGHT)
        states = adapter_parameters(model, adapter) * (_WEIGHT + _GRADIENT + _MOMENTS)
        return Memory(frozen + states + tile, token)
    zero = (deepspeed or {}).get("zero_optimization", {})
    device, host = (size * model.parameters for size in divided(ranks, deepspeed))
    undivided = device if ranks == 1 and not zero.get("stage") else 0.0
    head = tile + model.head * _GRADIENT
    return Memory(device + _gathered(model, mixed, zero) + _copies(model, mixed, zero) + head, token, undivided, host)


def whole_logits(model: Shape) -> float:
    """Bytes of a learned token's logits where training holds all of them: on a CPU (`qaq.train.trainer`)."""
    return model.vocabulary * _LOGIT_BYTES


def adapter_parameters(model: Shape, rank: int) -> int:
    """Of LoRA on every matrix of the layers: `rank` times the inputs and outputs of each (arXiv 2106.09685, section 4.1)."""
    attention = 2 * (model.hidden + model.query) + 2 * (model.hidden + model.key)
    return rank * model.layers * (attention + 3 * (model.hidden + model.mlp))


def divided(ranks: int, deepspeed: dict[str, Any] | None) -> tuple[float, float]:
    """Bytes of weight, gradient and moments for each parameter, (on a device, in host memory for each device).

    ZeRO-1 divides the moments, ZeRO-2 also the gradients, ZeRO-3 also the weights (arXiv 1910.02054, section 5). Below stage 3
    DeepSpeed's optimizer steps on a copy of its share of the weights (deepspeed/runtime/zero/stage_1_and_2.py,
    single_partition_of_fp32_groups), also where these are float32; stage 3 does so only under offload (stage3.py,
    fp32_partitioned_groups_flat). DDP reduces the gradients in buckets beside them (torch: gradient_as_bucket_view=False).
    """
    zero = (deepspeed or {}).get("zero_optimization", {})
    stage = zero.get("stage", 0)
    if stage == 0:
        buckets = _GRADIENT if deepspeed is None and ranks > 1 else 0
        return _WEIGHT + _GRADIENT + _MOMENTS + buckets, 0.0
    weights = _WEIGHT / (ranks if stage == 3 else 1)
    gradients = _GRADIENT / (ranks if stage >= 2 else 1)
    device, host = weights + gradients, 0.0
    if _offloaded(zero, "offload_optimizer"):
        # moments, the copy that is stepped on, its gradients, and below stage 3 a buffer for the weights that go back
        host = (_MOMENTS + _WEIGHT + _GRADIENT + (_WEIGHT if stage < 3 else 0)) / ranks
        device -= gradients if stage >= 2 else 0.0
    else:
        device += (_MOMENTS + (_WEIGHT if stage < 3 else 0)) / ranks
    if stage == 3 and _offloaded(zero, "offload_param"):
        device, host = device - weights, host + weights
    return device, host


def _offloaded(zero: dict[str, Any], what: str) -> bool:
    return (zero.get(what) or {}).get("device", "none") != "none"


def _gathered(model: Shape, mixed: bool, zero: dict[str, Any]) -> float:
    """Bytes of gradients on their way between ranks, and of weights that ZeRO-3 has gathered for a pass."""
    if not zero.get("stage"):
        return 0.0
    bucket = min(_number(zero, "reduce_bucket_size", _BUCKET), model.parameters)
    if zero["stage"] < 3:
        return bucket * _GRADIENT
    live = min(_number(zero, "stage3_max_live_parameters", _LIVE), model.parameters)
    return bucket * _GRADIENT + live * (_AUTOCAST if mixed else _WEIGHT)


def _number(zero: dict[str, Any], name: str, default: float) -> float:
    return zero[name] if isinstance(zero.get(name), (int, float)) else default


def _copies(model: Shape, mixed: bool, zero: dict[str, Any]) -> float:
    """Bytes of the matrices as autocast copies them; ZeRO-3 gathers them in that format and needs no others."""
    return _AUTOCAST * (model.body + model.head) if mixed and zero.get("stage", 0) < 3 else 0.0


def decoding_memory(model: Shape, item: int) -> Memory:
    """The weights, and the keys and values of every token of a batch, twice: a step writes them anew."""
    return Memory(model.parameters * item + _LOGITS_AT_ONCE, 2 * model.cache_bytes)
