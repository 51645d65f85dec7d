"""The embedding of a query: an encoder's (or a causal model's) last hidden states as one vector of length 1.

Mean of the tokens, the first one (cls) or the last one. A directory in the format of sentence-transformers says which, and how
long a text may be; that is followed where the settings do not say.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from qaq import models

if TYPE_CHECKING:
    import torch

    from qaq.signals.reading import Reader

VERSION = 1
WHAT = "embeddings"
SCHEMA = pa.schema([("id", pa.string()), ("embedding", pa.list_(pa.float32())), ("truncated", pa.bool_())])

_KNOWN = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "last"}


def load(request: dict[str, Any]) -> Callable[[pa.Table], pa.Table]:
    """`request`: model (directory), settings, device. ValueError for a directory whose embedding is of another kind."""
    from qaq.signals.reading import Reader, limit

    settings, directory = request["settings"], Path(request["model"])
    body, tokenizer = models.load_body(directory, settings["dtype"], models.device(request["device"]))
    says = _sentence_transformers(directory)
    pooling = settings["pooling"] or says.get("pooling")
    if pooling not in POOLINGS:
        raise ValueError(f"signals.embedding.pooling={pooling!r}, and {directory} names none that is known here: choose one of "
                         f"{', '.join(POOLINGS)}")  # fmt: skip
    longest = limit(body, settings["max_length"] or says.get("max_length"))
    reader = Reader(body, tokenizer.pad_token_id, settings["tokens_per_batch"], "embedding")
    prefix, lower = settings["prefix"], says.get("lower", False)
    return functools.partial(
        _embed, reader, tokenizer, longest, POOLINGS[pooling], lambda query: _text(query, prefix, lower)
    )


def _sentence_transformers(directory: Path) -> dict[str, Any]:
    """What a directory in that format says of pooling (None if it is none of ours), max_length and lower; empty for another.

    ValueError for a module that is not known: leaving it out would give other vectors.
    """
    if not (directory / "modules.json").is_file():
        return {}
    listed = json.loads((directory / "modules.json").read_text())
    modules = {module["type"].rpartition(".")[2]: directory / module["path"] for module in listed}
    if not set(modules) <= {"Transformer", "Pooling", "Normalize"}:
        raise ValueError(f"{directory} embeds through {', '.join(modules)}, of which only Transformer, Pooling and Normalize are "
                         "known here: take another signals.embedding.model")  # fmt: skip
    pooling = _read(modules.get("Pooling", directory) / "config.json")
    chosen = [name for name, on in pooling.items() if name.startswith("pooling_mode_") and on]
    text = _read(directory / "sentence_bert_config.json")
    return {"pooling": _KNOWN.get(chosen[0]) if len(chosen) == 1 else None, "max_length": text.get("max_seq_length"),
            "lower": text.get("do_lower_case", False)}  # fmt: skip


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.is_file() else {}


def _text(query: str, prefix: str, lower: bool) -> str:
    return prefix + (query.lower() if lower else query)


def _mean(output: Any, mask_BT: "torch.Tensor") -> "torch.Tensor":
    return (output.last_hidden_state.float() * mask_BT[:, :, None]).sum(1) / mask_BT.sum(1, keepdim=True)


def _cls(output: Any, mask_BT: "torch.Tensor") -> "torch.Tensor":
    return output.last_hidden_state[:, 0].float()


def _last(output: Any, mask_BT: "torch.Tensor") -> "torch.Tensor":
    from qaq.signals.reading import last

    return last(output, mask_BT)


POOLINGS = {"mean": _mean, "cls": _cls, "last": _last}


def _embed(reader: "Reader", tokenizer: Any, longest: int, pool: "Callable[[Any, torch.Tensor], torch.Tensor]",
           text: Callable[[str], str], pairs: pa.Table) -> pa.Table:  # fmt: skip
    from qaq.signals.reading import encode, unit

    ids = pairs["id"].to_pylist()
    rows, cut = encode(tokenizer, [text(query) for query in pairs["query"].to_pylist()], longest)
    vectors_ND = unit(reader.read(rows, ids, pool))
    return pa.table([ids, list(vectors_ND.numpy()), cut], schema=SCHEMA)
