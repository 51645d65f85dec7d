"""XCoder's complexity of a query (section 3.1), after DEITA: the digit a scorer is about to write, in expectation.

A causal model reads the prompt with the query in it. Of its logits for the next token only those of the digits enter a
softmax; the score is the sum of their weights, each times its share. A conversation's queries are scored alone and summed.

The published script reads the tokens 1 to 6 with the weights 0 to 5, of the 20 likeliest tokens only, and gives 2.0 where the
model says nothing; here all digits count and every query is read.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from qaq import chat, models

if TYPE_CHECKING:
    import torch

    from qaq.signals.reading import Reader

VERSION = 1
WHAT = "complexity scores"
# truncated: one of the queries at least was cut at its end to fit
SCHEMA = pa.schema([("id", pa.string()), ("complexity", pa.float64()), ("complexity_queries", pa.int32()),
                    ("truncated", pa.bool_())])  # fmt: skip


@dataclass(frozen=True)
class Prompt:
    """The text around a query, whether the tokenizer's own marks go around it too, and the most tokens it may have.

    `mark` is a digit: every text is tokenised with one behind it, which is then left out. So a tokenizer that writes " 3" as
    one token does not leave a lone space in front of it.
    """

    tokenizer: Any
    before: str
    after: str
    marks: bool
    longest: int
    mark: str

    def rows(self, queries: list[str]) -> tuple[list[list[int]], list[bool]]:
        """(tokens in front of the digit, whether the query was cut at its end to fit) of each."""
        rows = self._encode(queries) if queries else []
        cut = [len(row) > self.longest for row in rows]
        for i in [i for i, over in enumerate(cut) if over]:
            query = queries[i]
            while len(rows[i]) > self.longest:
                query = self._shortened(query, len(rows[i]) - self.longest)
                rows[i] = self._encode([query])[0]
        return rows, cut

    def digits(self, digits: list[int]) -> list[int]:
        """The token of each digit at the prompt's end. ValueError where a digit is not one token there."""
        texts = [f"{self.before}x{self.after}{digit}" for digit in digits]
        rows = self.tokenizer(texts, add_special_tokens=self.marks, verbose=False)["input_ids"]
        if len({tuple(row[:-1]) for row in rows}) > 1 or len({row[-1] for row in rows}) < len(digits):
            pieces = [self.tokenizer.convert_ids_to_tokens(row[-3:]) for row in rows]
            raise ValueError(f"signals.complexity.digits={digits}: at the end of the prompt, {self.after[-24:]!r}, each has to be one "
                             f"token of this tokenizer and is not: {pieces}. Change the prompt's end, the digits or the model")  # fmt: skip
        return [row[-1] for row in rows]

    def opening(self) -> tuple[list[int], list[int]]:
        """(the tokens that all texts open with but for those whose first word joins the prompt's last, one of the texts)."""
        rows = self._encode(["x", "Write", " y", "1", "(", "\n", "é"])
        same = next(place for place, tokens in enumerate(zip(*rows, strict=False)) if len(set(tokens)) > 1)
        return rows[0][:same], rows[0]

    def _encode(self, queries: list[str]) -> list[list[int]]:
        texts = [self.before + query + self.after + self.mark for query in queries]
        return [row[:-1] for row in self.tokenizer(texts, add_special_tokens=self.marks, verbose=False)["input_ids"]]

    def _shortened(self, query: str, excess: int) -> str:
        pieces = self.tokenizer(query, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        kept = len(pieces["offset_mapping"]) - excess
        if kept < 1 or len(query) < 2:
            raise ValueError(f"signals.complexity: the prompt alone leaves no room for a query in {self.longest} tokens: shorten it, or "
                             "raise signals.complexity.max_length")  # fmt: skip
        return query[: min(pieces["offset_mapping"][kept - 1][1], len(query) - 1)]


def check_prompt(text: str) -> None:
    """ValueError unless it says once where the query goes."""
    if text.count("{query}") != 1:
        raise ValueError(
            f"signals.complexity.prompt holds {text.count('{query}')} times {{query}}, it has to once: {text!r}"
        )


def weights_of(settings: dict[str, Any]) -> list[float]:
    """What each digit counts: itself where no weights are given. ValueError unless there are as many."""
    digits, weights = settings["digits"], settings["weights"]
    if weights is not None and len(weights) != len(digits):
        raise ValueError(f"signals.complexity has {len(digits)} digits and {len(weights)} weights: a digit has one")
    return weights or digits


def load(request: dict[str, Any]) -> Callable[[pa.Table], pa.Table]:
    """`request`: model (directory), settings, device. ValueError for a prompt, digits or a model that cannot be used so."""
    from qaq.signals.reading import Reader, limit

    settings = request["settings"]
    model, tokenizer = models.load(Path(request["model"]), settings["dtype"], models.device(request["device"]))
    prompt = _prompt(tokenizer, settings, limit(model, settings["max_length"]))
    weights = weights_of(settings)
    tokens = prompt.digits(settings["digits"])
    _check(model, prompt.rows(["x"])[0][0])
    reader = Reader(model.get_decoder(), tokenizer.pad_token_id, settings["tokens_per_batch"], "complexity")
    reader.open_with(*prompt.opening())
    return functools.partial(_score, reader, prompt, _logits(model.get_output_embeddings(), tokens), weights)


def _prompt(tokenizer: Any, settings: dict[str, Any], longest: int) -> Prompt:
    text = settings["prompt"]
    check_prompt(text)
    if settings["chat"]:
        text = chat.frame(tokenizer, None).prompt(text)
    before, after = text.split("{query}")
    return Prompt(tokenizer, before, after, not settings["chat"], longest, str(settings["digits"][0]))


def _check(model: Any, row: list[int]) -> None:
    """ValueError unless the logits are the projection of the hidden states: only then are some of its rows enough."""
    import torch

    ids_1T = torch.tensor([row], device=model.device)
    with torch.inference_mode():
        logits_V = model(input_ids=ids_1T, use_cache=False).logits[0, -1]
        hidden_D = model.get_decoder()(input_ids=ids_1T, use_cache=False).last_hidden_state[0, -1]
        ours_V = model.get_output_embeddings()(hidden_D)
    error, size = (float(torch.linalg.vector_norm(x.float())) for x in (ours_V - logits_V, logits_V))
    if error > size * 1e-4:  # the same products: no rounding
        raise ValueError(f"{type(model).__name__} changes its logits after the projection, which this signal does not know; its "
                         "complexity would be wrong: take another signals.complexity.model")  # fmt: skip


def _logits(head: Any, tokens: list[int]) -> "Callable[[Any, torch.Tensor], torch.Tensor]":
    """What makes the logits [B, K] of `tokens` behind each text's last token: only their rows of the projection, in float32."""
    from qaq.signals.reading import last

    rows_KD = head.weight[tokens].float()
    bias_K = 0.0 if getattr(head, "bias", None) is None else head.bias[tokens].float()
    return lambda output, mask_BT: last(output, mask_BT) @ rows_KD.T + bias_K


def _score(reader: "Reader", prompt: Prompt, logits: "Callable[[Any, torch.Tensor], torch.Tensor]", weights: list[float],
           pairs: pa.Table) -> pa.Table:  # fmt: skip
    ids, turns = pairs["id"].to_pylist(), pairs["queries"].to_pylist()
    owner_Q = np.array([place for place, queries in enumerate(turns) for _ in queries], dtype=np.int64)
    rows, cut_Q = prompt.rows([query for queries in turns for query in queries])
    logits_QK = reader.read(rows, [ids[place] for place in owner_Q], logits)
    expected_Q = logits_QK.double().softmax(1).numpy() @ np.array(weights, dtype=float)
    sums, cuts = (np.bincount(owner_Q, values, len(ids)) for values in (expected_Q, cut_Q))
    return pa.table([ids, sums, [len(queries) for queries in turns], cuts > 0], schema=SCHEMA)
