"""SCAR: the published ranker's arithmetic, on whatever encoder, with every weight in its place."""

import json

import numpy as np
import pytest
import torch
from observing import alone_and_together, pairs, saved, tiny
from safetensors.torch import save_file
from transformers import AutoTokenizer

from qaq.signals import scar

WIDTH, LINEAR = 32, 24


def heads() -> dict[str, torch.Tensor]:
    """The weights behind the encoder, by the names of the published files."""
    torch.manual_seed(1)
    shapes = {"relation_network.0": (LINEAR, 2 * WIDTH), "relation_network.2": (WIDTH, LINEAR),
              "output_layer.0": (LINEAR, 2 * WIDTH), "output_layer.2": (1, LINEAR)}  # fmt: skip
    made = {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}
    return made | {f"{name}.bias": torch.randn(shape[0]) for name, shape in shapes.items()}


def ranker(
    directory, encoder: torch.nn.Module, weights: dict[str, torch.Tensor] | None = None, pickled: bool = False, **shape
):
    """A ranker as its authors publish it: the encoder's weights under `encoder.`, and of its shape only a name."""
    saved(encoder, directory, marks=True)
    (directory / "model.safetensors").unlink()
    if weights is None:
        weights = {f"encoder.{name}": value for name, value in encoder.state_dict().items()} | heads()
    if pickled:
        torch.save(weights, directory / "pytorch_model.bin")
    else:
        save_file({name: value.contiguous() for name, value in weights.items()}, directory / "model.safetensors")
    said = {"model_type": "style_ranker", "encoder_name": "a/b", "hidden_dim": WIDTH, "linear_dim": LINEAR, **shape}
    (directory / "config.json").write_text(json.dumps(said))
    return directory


def made(directory, body: torch.nn.Module, **changes):
    settings = {"encoder": body.config.to_dict(), "dtype": "float32", "max_length": 512, "tokens_per_batch": 150}
    return scar.load({"model": str(directory), "settings": {**settings, **changes}, "device": "cpu"})


def by_hand(directory, encoder: torch.nn.Module, query: str, answer: str, longest: int = 256) -> float:
    """One pair, in torch's own layers."""
    tokenizer, weights = AutoTokenizer.from_pretrained(directory), heads()
    with torch.no_grad():
        read = [
            encoder(torch.tensor([tokenizer(text, truncation=True, max_length=longest)["input_ids"]]))
            for text in (query, answer)
        ]
        first = [
            one.pooler_output if getattr(one, "pooler_output", None) is not None else one.last_hidden_state[:, 0]
            for one in read
        ]
        largest = read[1].last_hidden_state.max(dim=1).values

        def network(name: str, states: torch.Tensor) -> torch.Tensor:
            linear = torch.nn.functional.linear
            hidden = torch.relu(linear(states, weights[f"{name}.0.weight"], weights[f"{name}.0.bias"]))
            return linear(hidden, weights[f"{name}.2.weight"], weights[f"{name}.2.bias"])

        relation = network("relation_network", torch.cat(first, dim=1))
        return float(network("output_layer", torch.cat([relation, largest], dim=1)))


def expected(directory, encoder, table, **options) -> list[float]:
    return [by_hand(directory, encoder, row["query"], row["answer"], **options) for row in table.to_pylist()]


@pytest.fixture(scope="module", params=["Bert", "Roberta", "Gte"])
def encoder(request):
    """Those with a pooler, and one without."""
    return tiny(request.param, type_vocab_size=0 if request.param == "Gte" else 2)


def test_a_score_is_the_published_rankers(encoder, tmp_path):
    directory = ranker(tmp_path / "m", encoder)
    found = made(directory, encoder)(pairs())
    np.testing.assert_allclose(found["scar"], expected(directory, encoder, pairs()), rtol=1e-4, atol=1e-4)
    assert found.schema == scar.SCHEMA
    assert found["truncated"].to_pylist() == [False] * found.num_rows


def test_a_pair_is_scored_the_same_alone_and_in_any_batch(encoder, tmp_path):
    alone, together = alone_and_together(made(ranker(tmp_path / "m", encoder), encoder), pairs(), "scar")
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_a_query_or_an_answer_too_long_is_cut_and_counted(tmp_path):
    body = tiny("Bert")
    directory = ranker(tmp_path / "m", body)
    table = pairs(["x", "sort " * 50, "y"], ["one", "two", "return " * 50])
    found = made(directory, body, max_length=16)(table)
    assert found["truncated"].to_pylist() == [False, True, True]
    np.testing.assert_allclose(found["scar"], expected(directory, body, table, longest=16), rtol=1e-4, atol=1e-4)


def test_pickled_weights_are_read_without_running_what_they_hold(tmp_path):
    body = tiny("Bert")
    directory = ranker(tmp_path / "m", body, pickled=True)
    np.testing.assert_allclose(
        made(directory, body)(pairs())["scar"], expected(directory, body, pairs()), rtol=1e-4, atol=1e-4
    )


def test_the_published_encoders_own_names_and_packed_weights_are_understood(tmp_path):
    """gte-*-v1.5 was written by code of its own: queries, keys and values in one matrix, other names."""
    body, old = tiny("Gte", type_vocab_size=0), {}
    state = body.state_dict()
    for name, value in state.items():
        if "k_proj" in name or "v_proj" in name or "gate_proj" in name:
            continue
        if "q_proj" in name:
            value = torch.cat([state[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")])
        if "up_proj" in name:
            value = torch.cat([value, state[name.replace("up_proj", "gate_proj")]])
        for new, theirs in (("layers.", "encoder.layer."), ("self_attn.q_proj", "attention.qkv_proj"),
                            ("self_attn.o_proj", "attention.o_proj"), ("mlp.up_proj", "mlp.up_gate_proj"),
                            ("post_attention_layernorm", "attn_ln"), ("post_mlp_layernorm", "mlp_ln")):  # fmt: skip
            name = name.replace(new, theirs)
        old[f"encoder.{name}"] = value
    assert "encoder.encoder.layer.0.attention.qkv_proj.weight" in old
    directory = ranker(tmp_path / "m", body, old | heads())
    np.testing.assert_allclose(
        made(directory, body)(pairs())["scar"], expected(directory, body, pairs()), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", ["encoder.encoder.layer.0.output.dense.weight", "relation_network.2.bias"])
@pytest.mark.parametrize("what", ["lacks", "has, beyond its shape,"])
def test_a_missing_or_a_superfluous_weight_is_an_error(name, what, tmp_path):
    body = tiny("Bert")
    weights = {f"encoder.{known}": value for known, value in body.state_dict().items()} | heads()
    if what == "lacks":
        del weights[name]
    else:
        weights[name.replace(".0.", ".7.").replace(".2.", ".7.")] = torch.zeros(3)
    with pytest.raises(
        ValueError, match=rf"the ranker in .* {what} 1 weights, the first of them .*is signals.scar.encoder"
    ):
        made(ranker(tmp_path / "m", body, weights), body)


def test_an_encoder_of_another_width_is_an_error(tmp_path):
    body = tiny("Bert")
    with pytest.raises(ValueError, match=r"relation_network.0.weight is \(24, 64\), its config.json says \(24, 32\)"):
        made(ranker(tmp_path / "m", body, hidden_dim=16), body)
    with pytest.raises(
        ValueError, match=r"has in another size 6 weights, the first of them encoder.layer.0.intermediate"
    ):
        made(ranker(tmp_path / "n", body), tiny("Bert", intermediate_size=48))


def test_a_directory_that_is_no_ranker_is_told_so(tmp_path):
    body = tiny("Bert")
    with pytest.raises(ValueError, match="is no ranker of SCAR's: its config.json says model_type 'bert'"):
        made(saved(body, tmp_path / "m"), body)
    directory = ranker(tmp_path / "n", body)
    (directory / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"holds neither model.safetensors nor pytorch_model.bin"):
        made(directory, body)


def test_the_encoders_shape_has_to_be_given_and_code_from_a_hub_is_not_run(tmp_path):
    body = tiny("Bert")
    directory = ranker(tmp_path / "m", body)
    with pytest.raises(
        ValueError, match=r"only names its encoder, a/b: give the shape of that as signals.scar.encoder"
    ):
        made(directory, body, encoder=None)
    with pytest.raises(
        ValueError, match=r"model_type='new' is none of transformers' own, and code from a hub is not run"
    ):
        made(directory, body, encoder={**body.config.to_dict(), "model_type": "new"})
