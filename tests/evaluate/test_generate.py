"""Generation: EvalPlus's words, the stopping rule token by token, and replies that do not depend on their batch."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qaq import chat, models, tables
from qaq.evaluate import Task, benchmark, decode, generate, protocol

TASK = Task("T/0", "\ndef f(x):\n    # one more\n", "f", "    return x + 1\n", "def check(f):\n    assert f(1) == 2\n")


@pytest.fixture(scope="module")
def room(tiny_model):
    model, tokenizer = models.load(tiny_model, "float32", "cpu")
    return generate.Room(model, tokenizer, chat.frame(tokenizer, None))


def test_the_prompt_is_evalplus_own(room):
    utility = pytest.importorskip("evalplus.provider.utility")
    for task in [TASK, *benchmark.tasks({"benchmark": "humaneval", "limit": 3})]:
        theirs = utility.make_raw_chat_prompt(task.prompt, protocol.INSTRUCTION, protocol.RESPONSE, room.tokenizer)
        assert protocol.prompt(room.frame, task) == theirs


def test_the_canonical_solution_is_the_reply_in_the_rendered_conversation(room):
    row = generate.canonical(room.frame, [TASK]).to_pylist()[0]
    reply = f"{protocol.OPENING}{TASK.prompt}{TASK.canonical_solution}"
    turns = [{"role": "user", "content": protocol.request(TASK)}, {"role": "assistant", "content": reply}]
    assert row["context"] + row["target"] + room.frame.tail == room.tokenizer.apply_chat_template(turns, tokenize=False)
    assert (row["id"], row["target"]) == (TASK.task_id, TASK.canonical_solution)


@pytest.mark.parametrize(("raw", "program"), [
    ("def f(x):\n    return 1\n```\nIt works.", "def f(x):\n    return 1"),
    ("def f(x):\n\treturn 1\nprint(f(1))", "def f(x):\n    return 1"),
    ("def f(x):\n    s = '```'\n    print(s)\n", "def f(x):\n    s = '```'\n    print(s)\n"),
    ("```", ""),
    ("    return 1\n```", TASK.prompt + "    return 1"),
    ("def g(x):\n    return 1\n", "def g(x):\n    return 1\n"),
    ("", ""),
])  # fmt: skip
def test_a_reply_becomes_a_program(raw, program):
    assert protocol.solution(TASK, raw) == program


@given(st.text(alphabet="a`\n", max_size=30), st.sampled_from(["", "\n```", "\nprint(", "\nif __name__"]))
def test_the_stopping_rule_fires_at_the_token_that_completes_a_stop_text(tiny_tokenizer, text, stop):
    tokens = tiny_tokenizer(text + stop, add_special_tokens=False)["input_ids"]
    ended = decode.stopping(tiny_tokenizer, {2}, protocol.STOPS)
    for n in range(1, len(tokens) + 1):
        if protocol.stop_at(tiny_tokenizer.decode(tokens[:n])) is not None:
            break
        assert not ended(torch.tensor([tokens[:n]])).any()
    else:
        return
    assert ended(torch.tensor([tokens[:n]])).all()


@pytest.fixture(scope="module")
def tiny_tokenizer(tiny_model):
    return models.tokenizer(tiny_model)


def test_the_rule_is_one_answer_for_each_row_and_knows_the_end_of_turn(room):
    ends = decode.end_tokens(room.model, room.tokenizer, room.frame.tail)
    assert ends == {room.tokenizer.convert_tokens_to_ids("<|im_end|>")}
    ended = decode.stopping(room.tokenizer, ends, protocol.STOPS)
    assert ended(torch.tensor([[50, 2], [50, 51], [2, 50]])).tolist() == [True, False, False]


def test_the_closing_mark_is_found_behind_a_line_break(room):
    """DeepSeek's template closes an answer with a line break and only then the mark."""
    mark = room.tokenizer.convert_tokens_to_ids("<|im_start|>")  # a mark that nothing else names as an end
    assert mark in decode.end_tokens(room.model, room.tokenizer, "\n<|im_start|>\n")


def never(new_BT: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(new_BT), dtype=torch.bool)


def by_parity(new_BT: torch.Tensor) -> torch.Tensor:
    """Ends rows at different steps, so that the batch shrinks in the middle."""
    return new_BT[:, -1] % 5 == 0


def test_greedy_is_what_the_model_finds_most_likely_one_token_at_a_time(room):
    ids = chat.encode(room.tokenizer, ["def add(a, b):"])[0]
    reply = decode.greedy(room.model, [ids], [12], 0, never)[0]
    for _ in range(12):
        with torch.no_grad():
            ids = [*ids, int(room.model(torch.tensor([ids])).logits[0, -1].argmax())]
    assert reply == decode.Reply(ids[-12:], True)


def test_a_batch_changes_no_reply(room):
    prompts = chat.encode(room.tokenizer, ["a", "def f(x):", "return [x for x in y]", "import os, sys", "x", "# no"])
    alone = [decode.greedy(room.model, [p], [24], 0, by_parity)[0] for p in prompts]
    assert decode.greedy(room.model, prompts, [24] * 6, 0, by_parity) == alone
    assert len({len(reply.tokens) for reply in alone}) > 1  # the batch did shrink


def test_every_row_has_its_own_limit_and_reaching_it_is_counted(room):
    prompts = chat.encode(room.tokenizer, ["a", "bb", "ccc"])
    replies = decode.greedy(room.model, prompts, [5, 0, 9], 0, never)
    assert [(len(r.tokens), r.capped) for r in replies] == [(5, True), (0, True), (9, True)]
    full = decode.greedy(room.model, prompts[:1], [9], 0, never)[0].tokens
    assert replies[0].tokens == full[:5]
    assert decode.greedy(room.model, prompts, [0, -1, 0], 0, never) == [decode.Reply([], True)] * 3


@given(st.lists(st.integers(1, 99)), st.integers(1, 9))
def test_batches_hold_every_prompt_once_longest_first(lengths, size):
    made = list(decode.batches(lengths, size))
    assert sorted(i for batch in made for i in batch) == list(range(len(lengths)))
    assert all(len(batch) <= size for batch in made)
    assert [lengths[i] for batch in made for i in batch] == sorted(lengths, reverse=True)


@pytest.mark.parametrize("window", [None, 1])
def test_the_worker_writes_the_same_text_for_batches_of_1_and_4(tiny_model, tmp_path, monkeypatch, window):
    small = [Task(f"T/{i}", f"def f{i}(x):\n", f"f{i}", "    return x\n", "") for i in range(5)]
    monkeypatch.setattr(benchmark, "tasks", lambda settings: small)
    if window:
        monkeypatch.setattr(models, "window", lambda model: window)
    found = []
    for size in (1, 4):
        out = tmp_path / str(size)
        out.mkdir()
        settings = {"dtype": "float32", "system_prompt": None, "max_new_tokens": 12, "batch_size": size}
        generate.main({"model": str(tiny_model), "settings": settings, "device": "cpu", "out": str(out)})
        found.append(tables.read(out / "solutions.parquet").to_pylist())
        counts = json.loads((out / "counts.json").read_text())
        raw = list(tables.read_jsonl(out / "raw.jsonl"))
        assert [row["task_id"] for row in raw] == [task.task_id for task in small]
        assert counts["tasks"] == 5
        assert counts["capped"] == sum(row["capped"] for row in found[-1])
        assert counts["tokens"] == sum(row["tokens"] for row in found[-1])
        assert counts["no_room"] == (5 if window else 0)
    assert found[0] == found[1]
