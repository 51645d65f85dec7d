"""Costs from config.json are those that a real model of that configuration has."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from qaq import cost

SMALL = {"vocab_size": 96, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0}  # fmt: skip
KINDS = {"llama": {"tie_word_embeddings": True}, "qwen2": {"tie_word_embeddings": False}, "mistral": {},
         "qwen3": {"head_dim": 16}, "gemma": {"head_dim": 24}, "smollm3": {}, "granite": {}, "olmo2": {}}  # fmt: skip


def made(kind: str) -> tuple[cost.Shape, torch.nn.Module]:
    config = AutoConfig.for_model(kind, **{**SMALL, **KINDS[kind]})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    return cost.of_config(config.to_dict()), model


def operations(run) -> tuple[int, int]:
    """(Operations of products with weights, of products between positions) that torch counts while `run` runs."""
    with FlopCounterMode(display=False) as counter:
        run()
    counts = {str(name): number for name, number in counter.get_flop_counts()["Global"].items()}
    between = sum(number for name, number in counts.items() if "bmm" in name)
    return sum(counts.values()) - between, between


@pytest.mark.parametrize("kind", KINDS)
def test_matrices_are_counted_to_the_last_parameter(kind):
    shape, model = made(kind)
    layers = sum(p.numel() for layer in model.get_decoder().layers for p in layer.parameters() if p.ndim == 2)
    assert shape.body == layers
    assert shape.head == model.get_output_embeddings().weight.numel()
    assert shape.parameters == sum(p.numel() for p in model.parameters() if p.ndim == 2)


def test_an_adapter_is_counted_to_the_last_parameter():
    shape, model = made("qwen2")
    lora = LoraConfig(r=5, target_modules="all-linear", task_type="CAUSAL_LM")
    trained = get_peft_model(model, lora).num_parameters(only_trainable=True)
    assert cost.adapter_parameters(shape, 5) == trained
    memory = cost.training_memory(shape, False, True, 8, zero(2), adapter=5)
    tile = shape.vocabulary * (4096 + shape.hidden) * 2  # logits of 4,096 tokens and the head's copy, in bf16
    assert memory.fixed == 2 * shape.parameters + 16 * trained + tile


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_reading_costs_what_torch_counts(kind):
    shape, model = made(kind)
    ids, predicted = torch.arange(20)[None], 7
    weights, between = operations(lambda: model(ids, logits_to_keep=predicted))
    without_attention = 2 * shape.body * 20 + 2 * shape.head * predicted
    assert weights == without_attention
    assert (
        cost.reading(shape, np.array([20]), predicted) - without_attention == between / 2
    )  # the masked half is not ours


@pytest.mark.parametrize("again", [False, True])
def test_training_costs_what_torch_counts(again):
    shape, model = made("llama")
    model.train()
    if again:
        model.activation_checkpointing_enable()
    ids = torch.arange(20)[None]
    weights, between = operations(lambda: model(ids, use_cache=False).logits.sum().backward())
    ours = cost.training(shape, np.array([20]), 20, again)
    assert ours == pytest.approx(weights + between / 2)


def test_what_texts_share_is_read_once():
    shape, _ = made("llama")
    lengths = np.array([12, 15])
    alone = cost.reading(shape, lengths, 5)
    # ten tokens less for the body, and the square of ten less for attention
    saved = 2 * shape.body * 10 + 4 * shape.query * shape.layers * 10**2 / 2
    assert cost.reading(shape, lengths, 5, shared=10) == pytest.approx(alone - saved)


def test_decoding_is_what_reading_the_reply_adds_to_reading_the_prompt():
    shape, _ = made("qwen2")
    added = cost.reading(shape, np.array([30]), 9) - cost.reading(shape, np.array([21]), 0)
    assert cost.decoding(shape, np.array([21]), np.array([9])) == pytest.approx(added)


def test_decoding_reads_all_weights_once_a_step_of_a_batch():
    shape, _ = made("llama")
    moved = cost.decoding_bytes(shape, np.array([0, 0, 0]), np.array([4, 2, 3]), 2, 2)
    positions = (4**2 + 2**2 + 3**2) / 2
    assert moved == (4 + 3) * (shape.body + shape.head) * 2 + positions * shape.cache_bytes


def test_a_cached_token_takes_the_bytes_it_takes():
    shape, model = made("qwen3")
    model.to(torch.bfloat16)
    cache = model(torch.arange(10)[None]).past_key_values
    held = sum(t.numel() * t.element_size() for layer in cache.layers for t in (layer.keys, layer.values))
    assert held == 10 * shape.cache_bytes


def test_training_holds_sixteen_bytes_a_parameter():
    shape, model = made("qwen2")
    model.train()
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.arange(8)[None]).logits.sum().backward()
    optimizer.step()
    states = [t for state in optimizer.state.values() for t in state.values() if t.ndim]
    held = sum(4 * t.numel() for p in model.parameters() for t in (p, p.grad)) + sum(4 * t.numel() for t in states)
    small = sum(p.numel() for p in model.parameters() if p.ndim == 1)  # norms and biases, which we leave out
    assert cost.training_memory(shape, False, True).states == held - 16 * small


def test_a_real_configuration():
    """deepseek-coder-6.7b-base, whose card says 6.7B parameters: the paper's scorer, by its config.json."""
    shape = cost.of_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
                            "num_attention_heads": 32, "num_key_value_heads": 32, "num_hidden_layers": 32,
                            "vocab_size": 32256, "tie_word_embeddings": False})  # fmt: skip
    assert shape.parameters == pytest.approx(6.74e9, rel=0.001)
    assert cost.training_memory(shape, True, True).states == pytest.approx(107.8e9, rel=0.001)


def zero(stage: int, *offloaded: str) -> dict:
    return {"zero_optimization": {"stage": stage, **{f"offload_{what}": {"device": "cpu"} for what in offloaded}}}


@pytest.mark.parametrize(("deepspeed", "device", "host"), [
    (None, 20, 0),  # weight 4, gradient 4, moments 8, and DDP's bucket 4
    (zero(0), 16, 0),
    (zero(1), 8 + (8 + 4) / 4, 0),  # the optimizer's own copy of its share of the weights: 4
    (zero(2), 4 + (4 + 8 + 4) / 4, 0),
    (zero(3), 16 / 4, 0),
    (zero(2, "optimizer"), 4, 20 / 4),
    (zero(3, "optimizer"), 4 / 4, 16 / 4),
    (zero(3, "optimizer", "param"), 0, 20 / 4),
    ({"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "none"}}}, 16 / 4, 0),
])  # fmt: skip
def test_four_ranks_divide_what_their_deepspeed_stage_divides(deepspeed, device, host):
    assert cost.divided(4, deepspeed) == (device, host)


@pytest.mark.parametrize("deepspeed", [None, zero(0), zero(3)])
def test_one_rank_divides_nothing(deepspeed):
    assert cost.divided(1, deepspeed) == (16, 0)


def test_a_rank_of_sixteen_under_zero_3_holds_a_sixteenth_and_what_it_gathers():
    shape = cost.of_config({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
                            "num_attention_heads": 32, "num_hidden_layers": 32, "vocab_size": 32256,
                            "tie_word_embeddings": False})  # fmt: skip
    memory = cost.training_memory(shape, True, True, 16, zero(3))
    head = (
        4096 * 32256 * 4 + 32256 * (4096 + 4096) * 2
    )  # its gradient in float32; a tile of logits and of the head in bf16
    assert memory.fixed == shape.parameters + 5e8 * 4 + 1e9 * 2 + head  # a bucket of gradients, live weights in bf16
    small = {"zero_optimization": {"stage": 3, "reduce_bucket_size": 1e6, "stage3_max_live_parameters": 2e6}}
    assert cost.training_memory(shape, True, True, 16, small).fixed == shape.parameters + 1e6 * 4 + 2e6 * 2 + head
    assert memory.token == cost.training_memory(shape, True, True).token


def test_a_model_with_other_layers_is_refused_and_not_guessed(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mixtral"}))
    with pytest.raises(ValueError, match="model_type 'mixtral' is not counted; known: gemma, granite, llama"):
        cost.shape(tmp_path)


def test_every_accelerator_has_its_numbers_and_their_source():
    import yaml

    devices = yaml.safe_load((ROOT / "conf/accelerators.yaml").read_text())
    assert len({device["name"] for device in devices}) == len(devices)
    for device in devices:
        assert set(device) == {"name", "tflops", "memory", "bandwidth", "source"}
        assert min(device["tflops"], device["memory"], device["bandwidth"]) > 0
        assert "20" in device["source"]  # a document and its year
