"""SCAR's style ranker: how consistent an answer's style is with what its query asks for; higher is better.

An encoder reads query and answer, each on its own. A relation network takes the first token's (or the pooler's) states of both,
the output layer its result beside the largest of each of the answer's states. The published package (scar-tool 0.35) is not
used: its batches fail when the last one holds a single pair, it fetches the encoder by name and runs the code that comes with
it, and it only prints which weights it did not find.

The ranker's directory holds its weights, the encoder's among them, and its tokenizer; of the encoder's shape its config.json
says nothing but a name, so the settings give it (`encoder`: a transformers configuration). No code from a hub is run.
"""

import functools
import json
from collections.abc import Callable, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from qaq import models

if TYPE_CHECKING:
    import torch

    from qaq.signals.reading import Reader

VERSION = 1
WHAT = "SCAR scores"
# truncated: the query or the answer was cut at its end to fit
SCHEMA = pa.schema([("id", pa.string()), ("scar", pa.float64()), ("truncated", pa.bool_())])


def load(request: dict[str, Any]) -> Callable[[pa.Table], pa.Table]:
    """`request`: model (directory of a ranker), settings, device. ValueError for a directory that is none."""
    from qaq.signals.reading import Reader, limit

    settings, directory = request["settings"], Path(request["model"])
    shape = _shape(directory)
    weights = _weights(directory)
    body = {name.removeprefix("encoder."): value for name, value in weights.items() if name.startswith("encoder.")}
    heads = {name: value.float() for name, value in weights.items() if not name.startswith("encoder.")}
    _check_heads(directory, heads, shape["hidden_dim"], shape["linear_dim"])
    encoder = _encoder(directory, shape["encoder_name"], settings["encoder"], body, settings["dtype"])
    encoder = encoder.to(models.device(request["device"])).eval()
    tokenizer = models.tokenizer(directory)
    reader = Reader(encoder, tokenizer.pad_token_id, settings["tokens_per_batch"], "scar")
    return functools.partial(_score, reader, heads, tokenizer, limit(encoder, settings["max_length"]))


def _shape(directory: Path) -> dict[str, Any]:
    file = directory / "config.json"
    shape = json.loads(file.read_text()) if file.is_file() else {}
    if shape.get("model_type") != "style_ranker":
        raise ValueError(f"{directory} is no ranker of SCAR's: its config.json says model_type {shape.get('model_type')!r}, not "
                         "'style_ranker'")  # fmt: skip
    return shape


def _weights(directory: Path) -> "dict[str, torch.Tensor]":
    import torch
    from safetensors.torch import load_file

    if (directory / "model.safetensors").is_file():
        return load_file(directory / "model.safetensors")
    if (directory / "pytorch_model.bin").is_file():
        return torch.load(directory / "pytorch_model.bin", map_location="cpu", weights_only=True)
    raise ValueError(f"{directory} holds neither model.safetensors nor pytorch_model.bin")


def _check_heads(directory: Path, heads: "dict[str, torch.Tensor]", hidden: int, linear: int) -> None:
    """ValueError unless the networks behind the encoder are two layers each, of these widths."""
    wanted = {}
    for network, out in (("relation_network", hidden), ("output_layer", 1)):
        wanted |= {f"{network}.0.weight": (linear, 2 * hidden), f"{network}.0.bias": (linear,),
                   f"{network}.2.weight": (out, linear), f"{network}.2.bias": (out,)}  # fmt: skip
    _same(directory, set(wanted) - set(heads), set(heads) - set(wanted))
    for name, shape in wanted.items():
        if heads[name].shape != shape:
            raise ValueError(
                f"the ranker in {directory}: {name} is {tuple(heads[name].shape)}, its config.json says {shape}"
            )


def _encoder(
    directory: Path, name: str, config: dict[str, Any] | None, body: "dict[str, torch.Tensor]", dtype: str
) -> Any:
    """The encoder of that configuration with the weights `body`, whose names may be those of the code it was trained with."""
    import torch
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    if config is None:
        raise ValueError(f"the ranker in {directory} only names its encoder, {name}: give the shape of that as signals.scar.encoder "
                         "(its config.json, in transformers' words)")  # fmt: skip
    config = dict(config)
    kind = config.pop("model_type", None)
    if kind not in CONFIG_MAPPING:
        raise ValueError(f"signals.scar.encoder.model_type={kind!r} is none of transformers' own, and code from a hub is not run; for "
                         "'new', the code beside the gte-*-v1.5 models, it is 'gte' (see conf/signals/paper.yaml)")  # fmt: skip
    shape = CONFIG_MAPPING[kind](**config)
    made, found = MODEL_MAPPING[type(shape)].from_pretrained(None, config=shape, state_dict=body, output_loading_info=True,
                                                             ignore_mismatched_sizes=True, dtype=getattr(torch, dtype))  # fmt: skip
    _same(directory, found["missing_keys"], found["unexpected_keys"], {name for name, *_ in found["mismatched_keys"]})
    return made


def _same(directory: Path, missing: Set[str], unexpected: Set[str], other: Set[str] = frozenset()) -> None:
    named = {"lacks": missing, "has, beyond its shape,": unexpected, "has in another size": other}
    for what, names in named.items():
        if names:
            raise ValueError(f"the ranker in {directory} {what} {len(names)} weights, the first of them {min(names)}: is "
                             "signals.scar.encoder its encoder's shape?")  # fmt: skip


def _states(output: Any, mask_BT: "torch.Tensor") -> "torch.Tensor":
    """[B, 2D]: the pooler's or the first token's states, then the largest of the real tokens' states."""
    hidden_BTD = output.last_hidden_state.float()
    pooled_BD = getattr(output, "pooler_output", None)
    first_BD = hidden_BTD[:, 0] if pooled_BD is None else pooled_BD.float()
    largest_BD = hidden_BTD.masked_fill(mask_BT[:, :, None] == 0, float("-inf")).amax(1)
    return _beside(first_BD, largest_BD)


def _score(
    reader: "Reader", heads: "dict[str, torch.Tensor]", tokenizer: Any, longest: int, pairs: pa.Table
) -> pa.Table:
    from qaq.signals.reading import encode

    ids, states, cuts = pairs["id"].to_pylist(), {}, {}
    for name in ("query", "answer"):
        rows, cuts[name] = encode(tokenizer, pairs[name].to_pylist(), longest)
        states[name] = reader.read(rows, ids, _states)
    query_ND, (answer_ND, largest_ND) = states["query"].chunk(2, 1)[0], states["answer"].chunk(2, 1)
    relation_ND = _network(heads, "relation_network", _beside(query_ND, answer_ND))
    scores_N = _network(heads, "output_layer", _beside(relation_ND, largest_ND))[:, 0]
    either = [query or answer for query, answer in zip(cuts["query"], cuts["answer"], strict=True)]
    return pa.table([ids, scores_N.double().numpy(), either], schema=SCHEMA)


def _network(heads: "dict[str, torch.Tensor]", name: str, states_NI: "torch.Tensor") -> "torch.Tensor":
    hidden_NL = (states_NI @ heads[f"{name}.0.weight"].T + heads[f"{name}.0.bias"]).relu()
    return hidden_NL @ heads[f"{name}.2.weight"].T + heads[f"{name}.2.bias"]


def _beside(*parts_ND: "torch.Tensor") -> "torch.Tensor":
    import torch

    return torch.cat(parts_ND, 1)
