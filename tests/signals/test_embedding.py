"""Embeddings: the pooling that is asked for or that the directory names, at length 1, the same in any batch."""

import json

import numpy as np
import pytest
import torch
from observing import QUERIES, alone_and_together, pairs, saved, tiny
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from qaq.signals import embedding

SETTINGS = {"pooling": "mean", "prefix": "", "dtype": "float32", "max_length": None, "tokens_per_batch": 100}
KINDS = [("Bert", True), ("Roberta", True), ("Llama", False), ("Qwen2", False)]


def made(directory, **changes):
    return embedding.load({"model": str(directory), "settings": {**SETTINGS, **changes}, "device": "cpu"})


def model_of(kind: str, marks: bool, directory, **options):
    """A model and its tokenizer, with the files of sentence-transformers where a test adds them."""
    changes = {"pad_token_id": 0, "type_vocab_size": 2} if kind == "Roberta" else {}
    return saved(tiny(kind, **changes), directory / kind, marks=marks, **options)


def by_hand(directory, text: str, pooling: str, longest: int = 256) -> np.ndarray:
    """One text through transformers alone, the vector from its definition."""
    tokenizer, body = AutoTokenizer.from_pretrained(directory), AutoModel.from_pretrained(directory)
    ids = tokenizer(text, truncation=True, max_length=longest)["input_ids"]
    with torch.no_grad():
        hidden_TD = body(torch.tensor([ids])).last_hidden_state[0].double().numpy()
    vector_D = {"mean": hidden_TD.mean(0), "cls": hidden_TD[0], "last": hidden_TD[-1]}[pooling]
    return vector_D / np.linalg.norm(vector_D)


def sentence_transformers(directory, pooling: dict, max_length: int, lower: bool = False, *more: str):
    """The files that say how such a model embeds."""
    names = ["Transformer", "Pooling", *more]
    paths = ["", *(f"{place}_{name}" for place, name in enumerate(names[1:], 1))]
    listed = [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
              for i, (name, path) in enumerate(zip(names, paths, strict=True))]  # fmt: skip
    (directory / "modules.json").write_text(json.dumps(listed))
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 32, **pooling}))
    (directory / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": max_length, "do_lower_case": lower})
    )
    return directory


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize(("kind", "marks"), KINDS)
def test_it_is_the_pooled_last_layer_at_length_1(kind, marks, pooling, tmp_path):
    directory = model_of(kind, marks, tmp_path)
    found = made(directory, pooling=pooling)(pairs())
    expected = [by_hand(directory, query, pooling) for query in QUERIES]
    np.testing.assert_allclose(found["embedding"].to_pylist(), expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found["embedding"].to_pylist(), axis=1), 1, rtol=1e-6)
    assert found.schema == embedding.SCHEMA
    assert found["truncated"].to_pylist() == [False] * len(QUERIES)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("kind", "marks"), KINDS)
def test_a_query_is_embedded_the_same_alone_and_in_any_batch(kind, marks, side, tmp_path):
    directory = model_of(kind, marks, tmp_path, side=side)
    for pooling in ("mean", "cls", "last"):
        alone, together = alone_and_together(made(directory, pooling=pooling), pairs(), "embedding")
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_query_too_long_loses_its_end_as_the_tokenizer_cuts_it_and_is_counted(tmp_path):
    directory = model_of("Bert", True, tmp_path)
    long = "sort these words " * 30
    found = made(directory, max_length=20)(pairs([long, "short"]))
    assert found["truncated"].to_pylist() == [True, False]
    np.testing.assert_allclose(found["embedding"].to_pylist()[0], by_hand(directory, long, "mean", 20), atol=1e-5)


def test_text_may_be_put_before_each_query(tmp_path):
    directory = model_of("Bert", True, tmp_path)
    found = made(directory, prefix="query: ")(pairs(["sort"]))["embedding"].to_pylist()
    np.testing.assert_allclose(found[0], by_hand(directory, "query: sort", "mean"), atol=1e-5)


def test_a_directory_of_sentence_transformers_is_followed_where_the_settings_do_not_say(tmp_path):
    directory = model_of("Bert", True, tmp_path)
    sentence_transformers(
        directory, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, 12, True, "Normalize"
    )
    long = "SORT these words " * 10
    found = made(directory, pooling=None)(pairs([long, "x"]))
    assert found["truncated"].to_pylist() == [True, False]
    np.testing.assert_allclose(
        found["embedding"].to_pylist()[0], by_hand(directory, long.lower(), "cls", 12), atol=1e-5
    )
    told = made(directory, pooling="mean", max_length=30)(pairs([long]))["embedding"].to_pylist()[0]
    np.testing.assert_allclose(told, by_hand(directory, long.lower(), "mean", 30), atol=1e-5)


def test_a_module_that_is_not_known_is_refused(tmp_path):
    directory = model_of("Bert", True, tmp_path)
    sentence_transformers(directory, {"pooling_mode_mean_tokens": True}, 12, False, "Dense", "Normalize")
    with pytest.raises(ValueError, match=r"embeds through Transformer, Pooling, Dense, Normalize, of which only"):
        made(directory)


@pytest.mark.parametrize("pooling", [{"pooling_mode_max_tokens": True},
                                     {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, None])  # fmt: skip
def test_a_pooling_that_nobody_names_or_that_is_not_known_is_refused(pooling, tmp_path):
    directory = model_of("Bert", True, tmp_path)
    if pooling:
        sentence_transformers(directory, pooling, 12)
    with pytest.raises(
        ValueError, match=r"pooling=None, and .* names none that is known here: choose one of mean, cls, last"
    ):
        made(directory, pooling=None)


def test_weights_that_are_not_there_are_not_drawn_at_random(tmp_path):
    directory = model_of("Bert", True, tmp_path)
    weights = load_file(directory / "model.safetensors")
    lost = [name for name in weights if "layer.1.attention" in name]
    save_file(
        {name: value for name, value in weights.items() if name not in lost},
        directory / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(ValueError, match=rf"lacks {len(lost)} weights of its BertModel, the first of them {min(lost)}"):
        made(directory)


def test_a_causal_model_with_its_head_embeds_as_its_body(tmp_path):
    directory = saved(tiny("Llama", "AutoModelForCausalLM"), tmp_path / "m", template=None)
    found = made(directory, pooling="last")(pairs(["sort"]))["embedding"].to_pylist()
    np.testing.assert_allclose(found[0], by_hand(directory, "sort", "last"), atol=1e-5)
