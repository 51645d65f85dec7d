"""Complexity: the expectation over the digits alone, for every tokenizer that writes them as one token, at any length."""

import numpy as np
import pytest
import torch
from conftest import CHATML
from observing import QUERIES, alone_and_together, pairs, saved, tiny
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, PreTrainedTokenizerFast

from qaq import chat
from qaq.signals import complexity
from qaq.signals.reading import Reader

PLAIN = {"prompt": "Rate this.\n##Query: {query}  \n##Complexity: ", "chat": False, "digits": [1, 2, 3, 4, 5, 6],
         "weights": [0, 1, 2, 3, 4, 5], "dtype": "float32", "max_length": None, "tokens_per_batch": 200}  # fmt: skip


def made(directory, **changes):
    return complexity.load({"model": str(directory), "settings": {**PLAIN, **changes}, "device": "cpu"})


def by_hand(directory, prompt: str, digits: list[str], weights: list[float]) -> float:
    """One prompt through transformers alone, and the softmax over the digits' logits."""
    tokenizer, model = AutoTokenizer.from_pretrained(directory), AutoModelForCausalLM.from_pretrained(directory)
    with torch.no_grad():
        logits_V = model(torch.tensor([tokenizer(prompt)["input_ids"]])).logits[0, -1].double()
    chances = logits_V[tokenizer.convert_tokens_to_ids(digits)].softmax(0)
    return float(chances @ torch.tensor(weights, dtype=torch.float64))


def filled(prompt: str) -> list[str]:
    return [prompt.replace("{query}", query, 1) for query in QUERIES]


@pytest.fixture(scope="module", params=["Llama", "Qwen2", "GPTNeoX", "Phi"])
def model(request, tmp_path_factory):
    return saved(tiny(request.param, "AutoModelForCausalLM"), tmp_path_factory.mktemp("m") / "tiny")


def test_it_is_the_expectation_over_the_digits_behind_the_prompt(model):
    found = made(model)(pairs())
    expected = [by_hand(model, text, list("123456"), list(range(6))) for text in filled(PLAIN["prompt"])]
    np.testing.assert_allclose(found["complexity"], expected, rtol=1e-5)
    assert found.schema == complexity.SCHEMA
    assert found["id"].to_pylist() == [f"p{place}" for place in range(len(QUERIES))]
    assert found["truncated"].to_pylist() == [False] * len(QUERIES)


def test_without_weights_a_digit_counts_as_what_it_is(model):
    weighted, plain = (
        made(model, weights=weights)(pairs())["complexity"].to_numpy() for weights in (list(range(6)), None)
    )
    np.testing.assert_allclose(plain, weighted + 1)


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_query_is_scored_the_same_alone_and_in_any_batch(side, tmp_path):
    score = made(saved(tiny("Llama", "AutoModelForCausalLM"), tmp_path / "m", side=side))
    alone, together = alone_and_together(score, pairs(), "complexity")
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_a_conversations_queries_are_scored_alone_and_summed(model):
    score = made(model)
    single = score(pairs())["complexity"].to_numpy()
    found = score(pairs(["a", "b"], turns=[QUERIES[:3], QUERIES[3:]]))
    np.testing.assert_allclose(found["complexity"], [single[:3].sum(), single[3:].sum()], rtol=1e-5)
    assert found["complexity_queries"].to_pylist() == [3, 2]


def test_an_instruct_model_is_asked_through_its_template(model):
    prompt = "How hard? 0 to 5.\n\n{query}"
    found = made(model, prompt=prompt, chat=True, digits=[0, 5], weights=None)(pairs())["complexity"]
    frame = chat.frame(AutoTokenizer.from_pretrained(model), None)
    expected = [by_hand(model, frame.prompt(text), ["0", "5"], [0, 5]) for text in filled(prompt)]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def spaced(directory):
    """A model whose tokenizer writes a digit and the space before it as one token."""
    saved(tiny("Llama", "AutoModelForCausalLM", vocab_size=400), directory)
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<|endoftext|>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())  # fmt: skip
    core.train_from_iterator([f"Rate: {digit}" for digit in range(7) for _ in range(9)], trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|endoftext|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(directory)
    return directory


@pytest.mark.parametrize("end", [": ", ":"])
def test_a_digit_takes_the_space_before_it_along_where_the_tokenizer_writes_them_as_one(end, tmp_path):
    directory = spaced(tmp_path / "m")
    found = made(directory, prompt="Rate {query}" + end)(pairs())["complexity"]
    digits = [f"Ġ{digit}" if end == ": " else str(digit) for digit in range(1, 7)]
    expected = [by_hand(directory, text, digits, list(range(6))) for text in filled("Rate {query}:")]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_digit_that_is_not_one_token_there_is_refused(model):
    expected = (
        r"signals.complexity.digits=\[1, 12\]: at the end of the prompt, .*Complexity: ', each has to be one token"
    )
    with pytest.raises(ValueError, match=expected):
        made(model, digits=[1, 12], weights=None)


def test_a_query_too_long_loses_its_end_and_is_counted_and_the_prompts_end_stays(model):
    long = "sort these words 😀 " * 60
    found = made(model, max_length=80)(pairs([long, "short"]))
    assert found["truncated"].to_pylist() == [True, False]
    prompt = complexity._prompt(AutoTokenizer.from_pretrained(model), PLAIN, 80)
    rows, cut = prompt.rows([long, "short"])
    text = prompt.tokenizer.decode(rows[0])
    assert 75 <= len(rows[0]) <= 80
    assert cut == [True, False]
    assert text.startswith("Rate this.\n##Query: sort these words")
    assert text.endswith("  \n##Complexity: ")
    assert prompt.tokenizer.decode(rows[1]) == "Rate this.\n##Query: short  \n##Complexity: "
    expected = by_hand(model, text, list("123456"), list(range(6)))
    np.testing.assert_allclose(found["complexity"][0].as_py(), expected, rtol=1e-5)


def test_a_prompt_that_leaves_no_room_for_a_query_is_refused(model):
    with pytest.raises(
        ValueError, match=r"no room for a query in 10 tokens: shorten it, or raise signals.complexity.max_length"
    ):
        made(model, max_length=10)(pairs(["anything at all"]))


CHANGED = [
    ("Gemma2", {"head_dim": 8, "final_logit_softcapping": 3.0}),
    ("Cohere", {}),
    ("Granite", {"logits_scaling": 4.0}),
]


@pytest.mark.parametrize(("kind", "changes"), CHANGED)
def test_a_model_that_changes_its_logits_after_the_projection_is_refused(kind, changes, tmp_path):
    directory = saved(tiny(kind, "AutoModelForCausalLM", **changes), tmp_path / "m")
    with pytest.raises(ValueError, match=f"{kind}ForCausalLM changes its logits after the projection"):
        made(directory)


def test_a_prompt_without_a_place_for_the_query_is_refused(model):
    with pytest.raises(ValueError, match=r"prompt holds 0 times \{query\}"):
        made(model, prompt="Rate this")


def test_as_many_weights_as_digits_are_asked_for(model):
    with pytest.raises(ValueError, match="has 6 digits and 2 weights"):
        made(model, weights=[0, 1])


def test_the_prompt_is_read_once_and_nothing_changes(model, monkeypatch):
    once = made(model)
    reader = once.args[0]
    assert len(reader.opening) > 10
    read, theirs = [], reader.body.forward

    def forward(input_ids, **others):
        read.append(input_ids.shape[1])
        return theirs(input_ids=input_ids, **others)

    monkeypatch.setattr(reader.body, "forward", forward)
    behind = once(pairs())["complexity"].to_numpy()
    longest = max(map(len, once.args[1].rows(QUERIES)[0]))
    assert max(read) == longest - len(reader.opening)
    reader.opening = []
    np.testing.assert_allclose(behind, once(pairs())["complexity"], rtol=1e-5)
    assert max(read) == longest


LONGROPE = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [8.0] * 4,
            "original_max_position_embeddings": 60}  # fmt: skip
OTHERS = [("Mistral", {"sliding_window": 16}, False), ("DiffLlama", {}, True), ("GPT2", {}, True),
          ("Phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 60}, True)]  # fmt: skip


@pytest.mark.parametrize(("kind", "changes", "once"), OTHERS)
def test_the_prompt_is_read_once_only_where_that_is_the_same(kind, changes, once, tmp_path):
    """Layers that forget cannot go on from it, nor can texts whose length changes all positions (Phi-3, behind 60 tokens)."""
    directory = saved(tiny(kind, "AutoModelForCausalLM", **changes), tmp_path / "m")
    found = made(directory)
    assert bool(found.args[0].opening) is once
    expected = [by_hand(directory, text, list("123456"), list(range(6))) for text in filled(PLAIN["prompt"])]
    np.testing.assert_allclose(found(pairs())["complexity"], expected, rtol=1e-4)


def test_a_model_that_reads_on_otherwise_than_in_one_go_reads_the_prompt_with_every_text(model, monkeypatch, caplog):
    expected = made(model)(pairs())["complexity"]
    monkeypatch.setattr(
        Reader, "_cache", lambda self, size: DynamicCache(config=self.body.config)
    )  # forgets the opening
    found = made(model)
    assert found.args[0].opening == []
    assert "reads on from what it kept otherwise than in one go" in caplog.text
    np.testing.assert_allclose(found(pairs())["complexity"], expected, rtol=1e-5)
