"""Decoding: what the model finds most likely, whoever else is in the batch; where it stops; what chance may do."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qaq import chat, decode, models
from qaq.evaluate import protocol

STOPS = protocol.Chat.stops("humaneval")


@pytest.fixture(scope="module")
def loaded(tiny_model):
    return models.load(tiny_model, "float32", "cpu")


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return models.tokenizer(tiny_model)


@given(st.text(alphabet="a`\n", max_size=30), st.sampled_from(["", "\n```", "\nprint(", "\nif __name__"]))
def test_the_stopping_rule_fires_at_the_token_that_completes_a_stop_text(tokenizer, text, stop):
    tokens = tokenizer(text + stop, add_special_tokens=False)["input_ids"]
    ended = decode.stopping(tokenizer, {2}, STOPS)
    for n in range(1, len(tokens) + 1):
        if protocol.stop_at(tokenizer.decode(tokens[:n]), STOPS) is not None:
            break
        assert not ended(torch.tensor([tokens[:n]])).any()
    else:
        return
    assert ended(torch.tensor([tokens[:n]])).all()


def test_a_completion_may_begin_with_what_later_ends_it(tokenizer):
    ended = decode.stopping(tokenizer, {2}, protocol.Completion.stops("humaneval"))
    assert not ended(torch.tensor([tokenizer("def f(", add_special_tokens=False)["input_ids"]])).any()
    assert not ended(torch.tensor([tokenizer("```", add_special_tokens=False)["input_ids"]])).any()
    assert ended(torch.tensor([tokenizer("x\ndef ", add_special_tokens=False)["input_ids"]])).all()


def test_the_rule_is_one_answer_for_each_row_and_knows_the_end_of_turn(loaded):
    model, tokenizer = loaded
    ends = decode.end_tokens(model.generation_config, tokenizer, chat.frame(tokenizer, None).tail)
    assert ends == {tokenizer.convert_tokens_to_ids("<|im_end|>")}
    ended = decode.stopping(tokenizer, ends, STOPS)
    assert ended(torch.tensor([[50, 2], [50, 51], [2, 50]])).tolist() == [True, False, False]


def test_the_closing_mark_is_found_behind_a_line_break(loaded):
    """DeepSeek's template closes an answer with a line break and only then the mark."""
    model, tokenizer = loaded
    mark = tokenizer.convert_tokens_to_ids("<|im_start|>")  # a mark that nothing else names as an end
    assert mark in decode.end_tokens(model.generation_config, tokenizer, "\n<|im_start|>\n")


def never(new_BT: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(new_BT), dtype=torch.bool)


def by_parity(new_BT: torch.Tensor) -> torch.Tensor:
    """Ends rows at different steps, so that the batch shrinks in the middle."""
    return new_BT[:, -1] % 5 == 0


def stepwise(model, ids: list[int], count: int) -> list[int]:
    """Without a cache: all of the text read anew for every token."""
    ids = list(ids)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[-count:]


def test_greedy_is_what_the_model_finds_most_likely_one_token_at_a_time(loaded):
    model, tokenizer = loaded
    ids = chat.encode(tokenizer, ["def add(a, b):"])[0]
    long = decode._ROOM + 9  # the cache has to grow
    assert decode.replies(model, [ids], [long], 0, never)[0] == decode.Reply(stepwise(model, ids, long), True)


def test_a_batch_changes_no_reply(loaded):
    model, tokenizer = loaded
    prompts = chat.encode(tokenizer, ["a", "def f(x):", "return [x for x in y]", "import os, sys", "x", "# no"])
    alone = [decode.replies(model, [p], [24], 0, by_parity)[0] for p in prompts]
    assert decode.replies(model, prompts, [24] * 6, 0, by_parity) == alone
    assert len({len(reply.tokens) for reply in alone}) > 1  # the batch did shrink
    for prompt, reply in zip(prompts, alone, strict=True):
        assert reply.tokens == stepwise(model, prompt, len(reply.tokens))


def test_every_row_has_its_own_limit_and_reaching_it_is_counted(loaded):
    model, tokenizer = loaded
    prompts = chat.encode(tokenizer, ["a", "bb", "ccc"])
    found = decode.replies(model, prompts, [5, 0, 9], 0, never)
    assert [(len(r.tokens), r.capped) for r in found] == [(5, True), (0, True), (9, True)]
    full = decode.replies(model, prompts[:1], [9], 0, never)[0].tokens
    assert found[0].tokens == full[:5]
    assert decode.replies(model, prompts, [0, -1, 0], 0, never) == [decode.Reply([], True)] * 3


@given(st.lists(st.integers(1, 99)), st.integers(1, 9))
def test_batches_hold_every_prompt_once_longest_first(lengths, size):
    made = list(decode.batches(lengths, size))
    assert sorted(i for batch in made for i in batch) == list(range(len(lengths)))
    assert all(len(batch) <= size for batch in made)
    assert [lengths[i] for batch in made for i in batch] == sorted(lengths, reverse=True)


@given(st.lists(st.booleans(), max_size=12))
def test_rows_that_end_are_replaced_by_the_last_ones(going):
    places = decode._closed_up(torch.tensor(going, dtype=torch.bool)).tolist()
    assert sorted(places) == [i for i, goes in enumerate(going) if goes]
    assert all(source == place or source >= len(places) for place, source in enumerate(places))


@given(st.integers(0, 2**31), st.floats(0.1, 3), st.floats(0.05, 1))
def test_a_sampled_token_lies_in_the_nucleus(seed, temperature, top_p):
    logits_BV = torch.randn(3, 20, generator=torch.Generator().manual_seed(seed))
    chosen = decode.sampling([seed, seed + 1, seed + 2], 4, temperature, top_p)(logits_BV, torch.arange(3), 2)
    for row, token in zip(torch.softmax(logits_BV / temperature, -1), chosen.tolist(), strict=True):
        assert row[row > row[token]].sum() < top_p + 1e-6


def test_tokens_are_drawn_as_often_as_they_are_likely():
    logits_BV = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    choose = decode.sampling([7], 4000, 1.0, 0.9)  # the nucleus of 0.9: the first three, 0.95 together
    found = (
        torch.bincount(torch.cat([choose(logits_BV, torch.tensor([0]), n) for n in range(4000)]), minlength=4) / 4000
    )
    assert found.tolist() == pytest.approx([0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0], abs=0.03)


def test_what_is_drawn_depends_on_the_seed_alone_and_not_on_the_batch(loaded):
    model, tokenizer = loaded
    prompts = chat.encode(tokenizer, ["a", "def f(x):", "return [x for x in y]", "# no"])

    def ask(some: list[int], seeds: list[int]) -> list[decode.Reply]:
        choose = decode.sampling(seeds, 24, 0.8, 0.95)
        return decode.replies(model, [prompts[i] for i in some], [24] * len(some), 0, by_parity, choose)

    alone = [ask([i], [i])[0] for i in range(4)]
    assert ask([2, 0, 3, 1], [2, 0, 3, 1]) == [alone[i] for i in (2, 0, 3, 1)]
    assert ask([1, 1, 1], [5, 6, 7]) != ask([1, 1, 1], [5, 5, 5])
