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
# fp32 weights, their gradients and AdamW's two moments (train/fit.py), and the bf16 copies autocast makes of the matrices
_STATE_BYTES, _AUTOCAST_BYTES = 16, 2
# of a logit of training: bf16, float32, its log-probability, and their gradients
_LOGIT_BYTES = 16
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
    """Bytes a device must hold: `fixed`, and `token` for each token read at once; `states` of the fixed ones can be
    divided among devices (ZeRO-3)."""

    fixed: float
    token: float
    states: float = 0.0

    def of(self, tokens: float) -> float:
        """All of them."""
        return self.fixed + tokens * self.token


def scoring_memory(model: Shape, item: int) -> Memory:
    """The weights and the logits held at a time; a token takes 24 vectors of the hidden width and 6 of the MLP's, as the
    engine assumes (qaq.score.engine)."""
    return Memory(model.parameters * item + _LOGITS_AT_ONCE, (24 * model.hidden + 6 * model.mlp) * item)


def training_memory(model: Shape, checkpointing: bool, mixed: bool) -> Memory:
    """Weights, gradients and moments, and what a pass keeps for its backward, every token being learned.

    In bf16 arithmetic a token keeps, a layer, about 26 D bytes (two norms in float32, and the inputs of the matrices),
    8 Q + 8 K (queries, keys and values before and after the rotation) and 8 F.
    """
    layer = (26 * model.hidden + 8 * model.query + 8 * model.key + 8 * model.mlp) * (1 if mixed else 2)
    kept = model.layers * 4 * model.hidden + layer if checkpointing else model.layers * layer
    copies = _AUTOCAST_BYTES * (model.body + model.head) if mixed else 0
    states = _STATE_BYTES * model.parameters
    return Memory(states + copies, kept + model.vocabulary * _LOGIT_BYTES, states)


def decoding_memory(model: Shape, item: int) -> Memory:
    """The weights, and the keys and values of every token of a batch, twice: a step writes them anew."""
    return Memory(model.parameters * item + _LOGITS_AT_ONCE, 2 * model.cache_bytes)
