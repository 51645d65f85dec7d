"""The engine's own promises: whatever the model's attention, the batch and the device's memory, the same sums."""

import math

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from qaq.score import attention, engine
from qaq.score.texts import Texts

SMALL = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 2,
         "pad_token_id": 0, "initializer_range": 0.3}  # fmt: skip
LENGTHS = [30, 29, 28, 12, 90, 7, 31]


def texts_of(lengths: list[int], opening: int = 0) -> Texts:
    """Texts that open with the same tokens, then differ; every token but those and the first is scored."""
    rng = np.random.default_rng(0)
    tokens = [np.concatenate([np.arange(3, 3 + opening), rng.integers(3, 300, n)]) for n in lengths]
    size = np.array([len(t) for t in tokens])
    return Texts(np.array([f"t{i}" for i in range(len(lengths))]), np.cumsum(size) - size, size,
                 np.array([[[opening + 1, n]] for n in size]), np.concatenate(tokens).astype(np.uint32))  # fmt: skip


def alone(model: torch.nn.Module, texts: Texts) -> list[float]:
    """Summed NLL by transformers alone: one text at a time, no mask, all logits."""
    sums = []
    for row in range(len(texts.ids)):
        ids, start = torch.from_numpy(texts.read(row)), int(texts.spans[row, 0, 0])
        with torch.no_grad():
            log_p = model(ids[None]).logits[0].double().log_softmax(-1)
        sums.append(-log_p[range(start - 1, len(ids) - 1), ids[start:]].sum().item())
    return sums


def alone_theirs(model: torch.nn.Module, texts: Texts) -> list[float]:
    """The same with the attention transformers gives the model."""
    model.set_attn_implementation("sdpa")
    return alone(model, texts)


def tiny(kind: str, **changes) -> torch.nn.Module:
    """A random model of that family."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**{**SMALL, **changes})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Qwen3", "GPTNeoX", "Phi3", "Starcoder2"])
def test_texts_of_any_length_are_read_as_one_sequence_and_none_sees_another(kind):
    model, texts = tiny(kind), texts_of(LENGTHS, opening=6)
    expected, rows = alone(model, texts), np.arange(len(LENGTHS))
    reader = engine.Engine(model, texts, rows, 120)
    assert reader.packs
    assert reader.shared == 6
    np.testing.assert_allclose(reader.sums(rows)[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize(("kind", "changes"), [("Falcon", {}), ("Mistral", {"sliding_window": 16}), ("StableLm", {})])
def test_a_model_with_an_attention_of_its_own_reads_one_text_at_a_time(kind, changes):
    model, texts = tiny(kind, **changes), texts_of(LENGTHS, opening=6)
    expected, rows = alone(model, texts), np.arange(len(LENGTHS))
    reader = engine.Engine(model, texts, rows, 120)
    assert not reader.packs
    assert reader.shared == 0
    np.testing.assert_allclose(reader.sums(rows)[:, 0], expected, rtol=1e-5)


LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [8.0] * 4,
            "original_max_position_embeddings": 64}  # fmt: skip


@pytest.mark.parametrize("budget", [1, 400])
def test_positions_that_depend_on_the_longest_text_are_taken_text_by_text(budget):
    """Phi-3's long variants choose other frequencies once a text of the call passes 64 tokens."""
    model = tiny("Phi3", rope_parameters=LONGROPE, original_max_position_embeddings=64)
    for lengths, packs in (([94, 50, 30], False), ([58, 50, 30], True)):
        texts = texts_of(lengths, opening=6)
        reader = engine.Engine(model, texts, np.arange(3), budget)
        assert reader.packs is packs
        np.testing.assert_allclose(reader.sums(np.arange(3))[:, 0], alone_theirs(model, texts), rtol=1e-5)


def test_attention_behind_an_opening_is_tried_and_not_only_attention_from_the_start():
    """DiffLlama's keys and values are not the ones attention is given: the same from the start, another thing behind a cache."""
    model, texts = tiny("DiffLlama"), texts_of(LENGTHS, opening=6)
    expected, rows = alone(model, texts), np.arange(len(LENGTHS))
    np.testing.assert_allclose(engine.Engine(model, texts, rows, 120).sums(rows)[:, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_caps_its_logits_is_refused_in_every_format(dtype):
    model = tiny("Gemma2", head_dim=8).to(dtype)
    with pytest.raises(ValueError, match=r"Gemma2ForCausalLM changes its logits"):
        engine.Engine(model, texts_of(LENGTHS, opening=6), np.arange(len(LENGTHS)), 120)


def test_a_model_that_looks_ahead_is_refused():
    with pytest.raises(ValueError, match=r"BertGenerationDecoder lets a token see those behind it"):
        engine.Engine(tiny("BertGeneration", is_decoder=False), texts_of(LENGTHS), np.arange(len(LENGTHS)), 120)


@pytest.mark.parametrize("kind", ["DeepseekV2", "DeepseekV3"])
def test_values_may_be_wider_or_narrower_than_keys(kind):
    model = tiny(kind, num_key_value_heads=4, q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8,
                 v_head_dim=12, head_dim=8, first_k_dense_replace=2)  # fmt: skip
    texts, rows = texts_of(LENGTHS, opening=6), np.arange(len(LENGTHS))
    expected = alone(model, texts)
    reader = engine.Engine(model, texts, rows, 120)
    assert reader.packs
    assert reader.shared == 0  # what DeepSeek keeps of the opening is compressed
    np.testing.assert_allclose(reader.sums(rows)[:, 0], expected, rtol=1e-5)


def test_two_passes_over_one_model_do_not_disturb_each_other():
    model, short, long = tiny("Mistral", sliding_window=40), texts_of([40, 30, 20]), texts_of([96, 30])
    expected = alone(model, short)
    first, second = (engine.Engine(model, texts, np.arange(len(texts.ids)), 120) for texts in (short, long))
    assert (first.packs, second.packs) == (True, False)
    second.sums(np.arange(2))
    np.testing.assert_allclose(first.sums(np.arange(3))[:, 0], expected, rtol=1e-5)


def test_a_sliding_window_matters_only_to_texts_that_pass_it():
    model, rows = tiny("Mistral", sliding_window=40), np.arange(3)
    for lengths, packs in (([40, 30, 20], True), ([41, 30, 20], False)):
        texts = texts_of(lengths)
        expected = alone(model, texts)
        reader = engine.Engine(model, texts, rows, 120)
        assert reader.packs is packs
        np.testing.assert_allclose(reader.sums(rows)[:, 0], expected, rtol=1e-5)
        model.set_attn_implementation("sdpa")


@pytest.mark.parametrize(("limit", "value"), [("_BLOCK", 64), ("_SCORES_AT_ONCE", 4 * 155 * 10)])
def test_a_long_text_is_read_in_blocks_of_queries(monkeypatch, limit, value):
    model, texts = tiny("Qwen3"), texts_of([150, 149, 64, 65], opening=5)
    expected = alone(model, texts)
    monkeypatch.setattr(attention, limit, value)
    sums = engine.Engine(model, texts, np.arange(4), 400).sums(np.arange(4))
    np.testing.assert_allclose(sums[:, 0], expected, rtol=1e-5)


def test_the_masks_of_a_long_text_are_not_kept(monkeypatch):
    """Each block has one of its own: those of 200,000 tokens, kept, were gigabytes."""
    model, texts = tiny("Llama"), texts_of([400, 20])
    monkeypatch.setattr(attention, "_BLOCK", 64)
    monkeypatch.setattr(attention, "_SEEN_AGAIN", 64)
    reader = engine.Engine(model, texts, np.arange(2), 500)
    attention._mask.cache_clear()
    reader.sums(np.array([0]))
    assert attention._mask.cache_info().currsize == 0
    reader.sums(np.array([1]))
    assert attention._mask.cache_info().currsize == 1


def test_the_attention_for_gpus_is_the_same_attention(monkeypatch):
    model, texts, rows = tiny("Llama"), texts_of(LENGTHS, opening=6), np.arange(len(LENGTHS))
    expected = alone(model, texts)
    monkeypatch.setattr(attention, "_products", attention._fused)
    np.testing.assert_allclose(engine.Engine(model, texts, rows, 120).sums(rows)[:, 0], expected, rtol=1e-5)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.integers(1, 900))
def test_batches_keep_the_budget_and_rectangles_hold_every_text_with_little_padding(lengths, budget):
    lengths = np.array(sorted(lengths, reverse=True))
    size = engine.fitting(lengths, budget)
    assert size == 1 or lengths[:size].sum() <= budget
    assert size == len(lengths) or lengths[: size + 1].sum() > budget
    blocks = engine._rectangles(lengths)
    widths = np.repeat([t for _, t in blocks], [b for b, _ in blocks])
    assert len(widths) == len(lengths)
    assert (widths >= lengths).all()
    assert (widths - lengths <= widths / 16).all()


def test_texts_of_one_token_and_targets_of_none_have_the_sum_zero():
    texts = texts_of([1, 5, 1, 2])
    sums = engine.Engine(tiny("Llama"), texts, np.arange(4), 64).sums(np.arange(4))[:, 0]
    assert (sums == 0).tolist() == [True, False, True, False]


def test_a_uniform_model_gives_log_of_the_vocabulary():
    model = tiny("Llama")
    with torch.no_grad():
        model.lm_head.weight.zero_()
    sums = engine.Engine(model, texts_of([4]), np.arange(1), 64).sums(np.arange(1))
    assert sums[0, 0] == pytest.approx(3 * math.log(300), abs=1e-5)


def test_out_of_memory_halves_the_batch_and_loses_nothing(monkeypatch):
    model, texts, rows = tiny("Llama"), texts_of([20] * 8), np.arange(8)
    expected = engine.Engine(model, texts, rows, 160).sums(rows)
    small = engine.Engine(model, texts, rows, 160)
    body, room = engine.Engine._body, 50

    def body_of_a_small_device(self, ids_N, *rest):
        if len(ids_N) > room:
            raise torch.OutOfMemoryError
        return body(self, ids_N, *rest)

    monkeypatch.setattr(engine.Engine, "_body", body_of_a_small_device)
    np.testing.assert_allclose(small.sums(rows), expected, rtol=1e-5)
    assert small.tokens_per_batch == 40
    room = 10
    with pytest.raises(MemoryError, match=r"t\d: 20 tokens do not fit the device's memory on their own"):
        small.sums(rows)


def test_a_model_that_changes_its_logits_is_refused_not_mis_scored():
    with pytest.raises(ValueError, match="GraniteForCausalLM changes its logits after the projection"):
        engine.Engine(tiny("Granite", logits_scaling=4.0), texts_of([4]), np.arange(1), 64)
