"""RDS+: position-weighted states of the conversation that training reads, compared by their cosine."""

import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from observing import alone_and_together, pairs, saved, tiny
from transformers import AutoModel

from qaq import models
from qaq.signals import rds
from qaq.train import rows as training

SETTINGS = {"dtype": "float32", "max_length": None, "system_prompt": None, "tokens_per_batch": 300}
ITEMS = pairs(["reverse a list", "What is a tree?", "sort"], ["return x[::-1]", "A graph.", "sorted(x)"])


@pytest.fixture(scope="module", params=["Llama", "Qwen2"])
def model(request, tmp_path_factory):
    return saved(tiny(request.param, "AutoModelForCausalLM"), tmp_path_factory.mktemp("m") / "tiny")


def made(directory, tmp_path, items: pa.Table = ITEMS, **changes):
    pq.write_table(items.drop_columns("queries"), tmp_path / "items.parquet")
    request = {"model": str(directory), "settings": {**SETTINGS, **changes}, "device": "cpu"}
    return rds.load({**request, "items": str(tmp_path / "items.parquet")})


def by_hand(directory, table: pa.Table, system: str | None = None, longest: int = 10**9) -> np.ndarray:
    """Vectors at length 1 of the rows that training makes, each read alone."""
    body, found = AutoModel.from_pretrained(directory), []
    for row in training.encode(models.tokenizer(directory), table.to_pylist(), system):
        with torch.no_grad():
            hidden_TD = body(torch.tensor([row.ids[:longest]])).last_hidden_state[0].double().numpy()
        weight_T = np.arange(1, len(hidden_TD) + 1) / np.arange(1, len(hidden_TD) + 1).sum()
        found.append(weight_T @ hidden_TD)
    return np.array(found) / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("system", [None, "Be brief."])
def test_a_similarity_is_the_cosine_with_each_item_in_its_order(model, system, tmp_path):
    found = made(model, tmp_path, system_prompt=system)(pairs())
    expected = by_hand(model, pairs(), system) @ by_hand(model, ITEMS, system).T
    np.testing.assert_allclose(found["similarity"].to_pylist(), expected, atol=1e-5)
    assert found.schema == rds.SCHEMA
    assert found["truncated"].to_pylist() == [False] * found.num_rows


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_pair_compares_the_same_alone_and_in_any_batch(side, tmp_path):
    score = made(saved(tiny("Llama", "AutoModelForCausalLM"), tmp_path / "m", side=side), tmp_path)
    alone, together = alone_and_together(score, pairs(), "similarity")
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_an_item_is_closest_to_itself(model, tmp_path):
    found = np.array(made(model, tmp_path)(ITEMS)["similarity"].to_pylist())
    np.testing.assert_allclose(found.diagonal(), 1, atol=1e-6)
    assert (found.argmax(1) == np.arange(3)).all()


def test_what_is_too_long_loses_its_end_and_is_counted_items_too(model, tmp_path, caplog):
    table = pairs(["sort", "add"], ["return 1", "return 2\n" * 40])
    items = pairs(["add"], ["return 3\n" * 40])
    with caplog.at_level(logging.WARNING):
        found = made(model, tmp_path, items, max_length=50)(table)
    assert found["truncated"].to_pylist() == [False, True]
    assert "1 of 1 items of the query set were cut at their end to fit" in caplog.text
    expected = by_hand(model, table, longest=50) @ by_hand(model, items, longest=50).T
    np.testing.assert_allclose(found["similarity"].to_pylist(), expected, atol=1e-5)


def test_an_empty_query_set_is_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r"signals.rds.queries holds no item"):
        made(model, tmp_path, ITEMS.slice(0, 0))


def test_a_model_without_a_template_is_refused(tmp_path):
    directory = saved(tiny("Llama", "AutoModelForCausalLM"), tmp_path / "m", template=None)
    with pytest.raises(ValueError, match="has no chat template: set template_id or template_path"):
        made(directory, tmp_path)
