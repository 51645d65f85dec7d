"""RDS+: how close a pair is to each item of a query set, in the hidden states of a causal model.

A pair (or an item) is read as the conversation that training reads: the chat template around query and answer, its parts
tokenised one by one. Its vector is the mean of the last layer's hidden states with weights that grow with the position
(i + 1, of the real tokens), at length 1; a similarity is a cosine.
"""

import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from qaq import chat, models
from qaq.signals.held_out import held_out

if TYPE_CHECKING:
    import torch

    from qaq.signals.reading import Reader

__all__ = ["SCHEMA", "VERSION", "WHAT", "held_out", "load"]

log = logging.getLogger(__name__)
VERSION = 1
WHAT = "similarities"
# similarity: cosine with each item of the query set, in its order
SCHEMA = pa.schema([("id", pa.string()), ("similarity", pa.list_(pa.float32())), ("truncated", pa.bool_())])


def load(request: dict[str, Any]) -> Callable[[pa.Table], pa.Table]:
    """`request`: model (directory), settings, device, items (Parquet file with id, query, answer), which are read now."""
    from qaq.signals.reading import Reader, limit

    settings = request["settings"]
    body, tokenizer = models.load_body(Path(request["model"]), settings["dtype"], models.device(request["device"]))
    reader = Reader(body, tokenizer.pad_token_id, settings["tokens_per_batch"], "rds")
    conversation = Conversation(tokenizer, settings["system_prompt"], limit(body, settings["max_length"]))
    vectors = functools.partial(_vectors, reader, conversation)
    items = pq.read_table(request["items"], columns=["id", "query", "answer"])
    if not items.num_rows:
        raise ValueError("signals.rds.queries holds no item: there is nothing to be similar to")
    items_ID, cut = vectors(items)
    if any(cut):
        log.warning("rds: %d of %d items of the query set were cut at their end to fit", sum(cut), len(cut))
    return functools.partial(_compare, vectors, items_ID)


class Conversation:
    """Query and answer in the template of the tokenizer, as `longest` tokens at most: the end of a longer one is cut."""

    def __init__(self, tokenizer: Any, system: str | None, longest: int) -> None:
        frame = chat.frame(tokenizer, system)
        self.tokenizer, self.longest = tokenizer, longest
        self.head, self.middle, self.tail = chat.encode(tokenizer, [frame.head, frame.end + frame.opener, frame.tail])

    def rows(self, pairs: pa.Table) -> tuple[list[list[int]], list[bool]]:
        """(tokens, whether they were cut) of each pair."""
        queries, answers = (chat.encode(self.tokenizer, pairs[name].to_pylist()) for name in ("query", "answer"))
        whole = [
            self.head + query + self.middle + answer + self.tail for query, answer in zip(queries, answers, strict=True)
        ]
        return [row[: self.longest] for row in whole], [len(row) > self.longest for row in whole]


def _weighted(output: Any, mask_BT: "torch.Tensor") -> "torch.Tensor":
    weight_BT = mask_BT.cumsum(1) * mask_BT  # not divided by their sum: the length comes out as 1 in the end
    return (output.last_hidden_state.float() * weight_BT[:, :, None]).sum(1)


def _vectors(reader: "Reader", conversation: Conversation, pairs: pa.Table) -> "tuple[torch.Tensor, list[bool]]":
    from qaq.signals.reading import unit

    rows, cut = conversation.rows(pairs)
    return unit(reader.read(rows, pairs["id"].to_pylist(), _weighted)), cut


def _compare(
    vectors: "Callable[[pa.Table], tuple[torch.Tensor, list[bool]]]", items_ID: "torch.Tensor", pairs: pa.Table
) -> pa.Table:
    vectors_ND, cut = vectors(pairs)
    return pa.table([pairs["id"].to_pylist(), list((vectors_ND @ items_ID.T).numpy()), cut], schema=SCHEMA)
