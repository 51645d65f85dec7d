"""EvalPlus's two protocols: its words, its stop texts, and what becomes of a reply."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from qaq import models
from qaq.evaluate import Task, benchmark, protocol

TASK = Task("T/0", "\ndef f(x):\n    # one more\n", "f", "    return x + 1\n")
MBPP = Task("Mbpp/2", '"""\nSay x.\nassert f(1) == 1\n"""\n', "f", "\ndef f(x):\n  return x\n", "mbpp", [[1]])
SETTINGS = {"benchmark": "humaneval", "path": None, "limit": 3, "protocol": "auto", "generator": "transformers",
            "max_new_tokens": 8, "samples": 1, "temperature": 0.0, "top_p": 0.95, "seed": 0, "dtype": "float32",
            "system_prompt": None, "batch_size": 4}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return models.tokenizer(tiny_model)


@pytest.fixture(scope="module")
def chatting(tokenizer):
    return protocol.of(tokenizer, SETTINGS)


@pytest.fixture(scope="module")
def completing(tokenizer):
    return protocol.of(tokenizer, {**SETTINGS, "protocol": "completion"})


def test_a_model_with_a_template_is_talked_to_and_one_without_goes_on(tokenizer):
    assert protocol.of(tokenizer, SETTINGS).name == "chat"
    bare = type(
        "Bare",
        (),
        {"chat_template": None, "decode": lambda self, ids: "<s>", "__call__": lambda self, text: {"input_ids": [1]}},
    )()
    found = protocol.of(bare, SETTINGS)
    assert found.name == "completion"
    assert found.prompt(TASK) == "<s>def f(x):\n    # one more\n"
    with pytest.raises(ValueError, match="has no chat template"):
        protocol.of(SimpleNamespace(chat_template=None, name_or_path="base"), {**SETTINGS, "protocol": "chat"})


def test_the_chat_prompt_is_evalplus_own(chatting, tokenizer):
    utility = pytest.importorskip("evalplus.provider.utility")
    for task in [TASK, MBPP, *benchmark.tasks(SETTINGS)]:
        theirs = utility.make_raw_chat_prompt(task.prompt, protocol.INSTRUCTION, protocol.RESPONSE, tokenizer)
        assert chatting.prompt(task) == theirs


def test_the_completion_prompt_is_the_task_stripped_and_a_line_break(completing):
    assert completing.prompt(TASK) == "def f(x):\n    # one more\n"
    assert completing.prompt(MBPP) == '"""\nSay x.\nassert f(1) == 1\n"""\n'


def test_the_stop_texts_are_evalplus_own(chatting, completing):
    utility = pytest.importorskip("evalplus.provider.utility")
    for data in ("humaneval", "mbpp"):
        assert set(completing.stops(data)) == {*utility.EOS, *utility.extra_eos_for_direct_completion(data)}
        assert set(chatting.stops(data)) == {*utility.EOS, "\n```"}


@pytest.mark.parametrize("task", [TASK, MBPP])
def test_the_canonical_solution_is_the_reply_in_the_rendered_conversation(chatting, tokenizer, task):
    context, target = protocol.solution_after(chatting, task)
    reply = f"{protocol.OPENING}{task.head}{task.canonical_solution if task.head else task.canonical_solution[1:]}"
    turns = [{"role": "user", "content": protocol.request(task)}, {"role": "assistant", "content": reply}]
    assert context + target + chatting.tail == tokenizer.apply_chat_template(turns, tokenize=False)


def test_the_canonical_solution_goes_on_with_the_prompt_of_a_completion(completing):
    assert protocol.solution_after(completing, TASK) == (completing.prompt(TASK), TASK.canonical_solution)
    assert protocol.solution_after(completing, MBPP) == (MBPP.prompt, "def f(x):\n  return x\n")


@pytest.mark.parametrize(("raw", "program"), [
    ("def f(x):\n    return 1\n```\nIt works.", "def f(x):\n    return 1"),
    ("def f(x):\n\treturn 1\nprint(f(1))", "def f(x):\n    return 1"),
    ("def f(x):\n    s = '```'\n    print(s)\n", "def f(x):\n    s = '```'\n    print(s)\n"),
    ("```", ""),
    ("    return 1\n```", TASK.prompt + "    return 1"),
    ("def g(x):\n    return 1\n", "def g(x):\n    return 1\n"),
    ("print(1)\n", "print(1)\n"),
    ("", ""),
])  # fmt: skip
def test_a_reply_becomes_a_program(chatting, raw, program):
    assert chatting.program(TASK, raw) == program


@pytest.mark.parametrize(("task", "raw", "program"), [
    (TASK, "    return 1\n\ndef g(x):\n    pass", "def f(x):\n    # one more\n    return 1\n"),
    (TASK, "\treturn 1\nassert f(1)", "def f(x):\n    # one more\n    return 1"),
    (TASK, "    s = '```'\n```", "def f(x):\n    # one more\n    s = '```'\n```"),
    (MBPP, 'def f(x):\n    return x\n"""\nSay y.', '"""\nSay x.\nassert f(1) == 1\n"""\ndef f(x):\n    return x'),
    (MBPP, "def f(x):\n    return x\ndef g(): pass\nassert f(1)", MBPP.prompt + "def f(x):\n    return x\ndef g(): pass"),
])  # fmt: skip
def test_a_completion_becomes_a_program(completing, task, raw, program):
    assert completing.program(task, raw) == program


def test_the_identity_follows_what_changes_a_reply_and_nothing_else():
    tasks = benchmark.tasks(SETTINGS)
    known = protocol.identity(SETTINGS, tasks)
    for name in ("benchmark", "workers", "top_p", "seed"):  # greedy decoding draws nothing
        assert protocol.identity({**SETTINGS, name: 9}, tasks) == known
    for name in ("max_new_tokens", "dtype", "system_prompt", "protocol", "generator", "samples", "batch_size"):
        assert protocol.identity({**SETTINGS, name: "x"}, tasks) != known
    assert protocol.identity(SETTINGS, tasks[:2]) != known
    assert protocol.identity(SETTINGS, [replace(tasks[0], test=""), *tasks[1:]]) == known
    warm = {**SETTINGS, "temperature": 0.8}
    assert len({str(protocol.identity({**warm, "seed": s}, tasks)) for s in range(3)}) == 3
