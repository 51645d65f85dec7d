"""Generation through its worker: replies that no batch, worker or kill changes, and what is made of them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from conftest import ROOT

from qaq import chat, decode, evaluate, launch, models, tables
from qaq.evaluate import Task, benchmark, generate, protocol, solutions

TASKS = [Task(f"T/{i}", f"def f{i}(x{'x' * i}):\n", f"f{i}", "    return x\n", test="") for i in range(5)]
SETTINGS = {"benchmark": "humaneval", "path": None, "limit": None, "protocol": "chat", "generator": "transformers",
            "max_new_tokens": 12, "samples": 1, "temperature": 0.0, "top_p": 0.95, "seed": 0, "dtype": "float32",
            "system_prompt": None, "batch_size": 2}  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(benchmark, "tasks", lambda settings: TASKS[: settings["limit"]])


def ask(tiny_model: Path, place: Path, **changes) -> list[dict]:
    """SOLUTIONS of the worker, collected into place/out."""
    settings = {**SETTINGS, **changes}
    generate.generate({"model": str(tiny_model), "settings": settings, "device": "cpu", "shards": str(place)})
    (place / "out").mkdir(exist_ok=True)
    solutions.collect(place, settings, place / "out")
    return tables.read(place / "out/solutions.parquet").to_pylist()


def counts(place: Path) -> dict:
    return json.loads((place / "out/counts.json").read_text())


@pytest.mark.parametrize("window", [None, 1])
def test_the_worker_gives_the_same_replies_in_batches_of_1_and_4(tiny_model, tmp_path, monkeypatch, window):
    if window:
        monkeypatch.setattr(models, "window", lambda config: window)
    found = [ask(tiny_model, tmp_path / str(size), batch_size=size) for size in (1, 4)]
    assert found[0] == found[1]
    assert [row["task_id"] for row in found[0]] == [task.task_id for task in TASKS]
    said = counts(tmp_path / "1")
    assert (said["tasks"], said["solutions"], said["protocol"]) == (5, 5, "chat")
    assert said["capped"] == sum(row["capped"] for row in found[0])
    assert said["tokens"] == sum(row["tokens"] for row in found[0])
    assert said["no_room"] == (5 if window else 0)


def test_both_the_reply_and_the_program_are_kept(tiny_model, tmp_path, monkeypatch):
    raw = "def f0(x):\n\treturn x\nf0(1)\n```\nDone."
    monkeypatch.setattr(generate.Asking, "text", lambda self, reply: raw)
    row = ask(tiny_model, tmp_path, limit=1)[0]
    assert (row["raw"], row["solution"], row["cleaned"]) == (raw, "def f0(x):\n    return x", True)


def test_the_canonical_solutions_are_kept_as_replies(tiny_model, tmp_path):
    ask(tiny_model, tmp_path)
    asking = generate.Asking.of({"model": str(tiny_model), "settings": SETTINGS})
    rows = tables.read(tmp_path / "out/canonical.parquet").to_pylist()
    assert [(row["id"], row["context"], row["target"]) for row in rows] == [
        (task.task_id, asking.protocol.prompt(task) + task.prompt, task.canonical_solution) for task in TASKS
    ]


def test_a_completion_starts_with_its_prompt(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(generate.Asking, "text", lambda self, reply: "    return x")
    rows = ask(tiny_model, tmp_path, protocol="completion")
    assert [row["solution"] for row in rows] == [task.prompt + "    return x" for task in TASKS]
    assert counts(tmp_path)["protocol"] == "completion"


def test_samples_differ_and_depend_on_nothing_but_their_task_number_and_seed(tiny_model, tmp_path):
    warm = {"samples": 3, "temperature": 0.8}
    found = ask(tiny_model, tmp_path / "a", **warm)
    assert [(row["task_id"], row["sample"]) for row in found] == [(t.task_id, s) for t in TASKS for s in range(3)]
    assert len({row["raw"] for row in found}) > 10
    assert ask(tiny_model, tmp_path / "b", **warm, batch_size=7) == found
    fewer = ask(tiny_model, tmp_path / "c", samples=2, temperature=0.8, limit=2)
    assert fewer == [row for row in found if row["sample"] < 2 and row["task_id"] in ("T/0", "T/1")]
    assert ask(tiny_model, tmp_path / "d", **warm, seed=1) != found


def test_what_is_left_counts_down_and_a_finished_folder_loads_no_model(tiny_model, tmp_path, monkeypatch):
    left = solutions.left(tmp_path, SETTINGS)
    assert left() == 5
    first = ask(tiny_model, tmp_path)
    assert left() == 0
    monkeypatch.setattr(models, "load", None)
    assert ask(tiny_model, tmp_path) == first


KILLED = """
import os, signal, sys
sys.path[:0] = [{src!r}, {here!r}]
import test_generate as t
t.benchmark.tasks = lambda settings: t.TASKS[: settings["limit"]]
left, ours = int(sys.argv[3]), t.decode.replies
def replies(*given):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return ours(*given)
t.decode.replies = replies
t.generate.generate(dict(model=sys.argv[1], settings=t.SETTINGS, device="cpu", shards=sys.argv[2]))
"""


def test_killed_again_and_again_it_ends_with_the_same_solutions(tiny_model, tmp_path):
    """SIGKILL in the middle of the first batch, then of the second of what was left: batches are of two, two and one."""
    whole = ask(tiny_model, tmp_path / "whole")
    code = KILLED.format(src=str(ROOT / "src"), here=str(Path(__file__).parent))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    held = []
    for finished in (0, 1):
        command = [sys.executable, "-c", code, str(tiny_model), str(tmp_path / "killed"), str(finished)]
        assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
        held.append(5 - solutions.left(tmp_path / "killed", SETTINGS)())
    assert held == [0, 2]
    assert ask(tiny_model, tmp_path / "killed") == whole
    names = [{file.name for file in (tmp_path / place / "replies").glob("*.parquet")} for place in ("whole", "killed")]
    assert names[0] == names[1]


def test_two_workers_share_the_batches(tiny_model, tmp_path, monkeypatch):
    """Through the launch room, on the real benchmark: two processes, one folder, and the solutions of one process."""
    monkeypatch.undo()
    settings = {**SETTINGS, "limit": 6}
    request = {"model": str(tiny_model), "settings": settings, "device": "cpu", "shards": str(tmp_path / "two")}
    local = {"name": "local", "workers": 2, "dry_run": False}
    launch.distribute("qaq.evaluate.generate", request, local, tmp_path, solutions.left(tmp_path / "two", settings))
    generate.generate({**request, "shards": str(tmp_path / "one")})
    for place in ("one", "two"):
        (tmp_path / place / "out").mkdir()
        solutions.collect(tmp_path / place, settings, tmp_path / place / "out")
    assert (tmp_path / "two/out/solutions.parquet").read_bytes() == (
        tmp_path / "one/out/solutions.parquet"
    ).read_bytes()


@pytest.mark.parametrize(("changes", "words"), [
    ({"samples": 4}, "evaluate.samples=4 of greedy decoding"),
    ({"generator": "vllm"}, "vllm is not installed here"),
    ({"benchmark": "humanevl"}, "did you mean 'humaneval'"),
])  # fmt: skip
def test_what_cannot_be_asked_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        evaluate.check({**SETTINGS, **changes})


class Stand:
    """vLLM's LLM as far as it is used: it answers through our own decoding, and one prompt differently."""

    wrong: str | None = None

    def __init__(self, model: str, dtype: str, max_model_len: int, enable_prefix_caching: bool, seed: int) -> None:
        self.model, self.tokenizer = models.load(Path(model), dtype, "cpu")
        self.asked: list[dict] = []

    def generate(self, prompts: list[dict], parameters: list[SimpleNamespace], use_tqdm: bool) -> list[SimpleNamespace]:
        said = []
        for prompt, how in zip(prompts, parameters, strict=True):
            ids = prompt["prompt_token_ids"]
            ended = decode.stopping(self.tokenizer, set(how.stop_token_ids), tuple(how.stop))
            choose = (
                decode.sampling([how.seed], how.max_tokens, how.temperature, how.top_p)
                if how.temperature
                else decode.most_likely
            )
            reply = decode.replies(self.model, [ids], [how.max_tokens], 0, ended, choose)[0]
            if self.wrong and self.wrong in self.tokenizer.decode(ids):
                reply = decode.Reply([50], False)
            said.append(
                SimpleNamespace(
                    outputs=[
                        SimpleNamespace(
                            token_ids=tuple(reply.tokens), finish_reason="length" if reply.capped else "stop"
                        )
                    ]
                )
            )
        return said


@pytest.fixture
def vllm(monkeypatch):
    module = ModuleType("vllm")
    module.__spec__ = SimpleNamespace()
    module.LLM, module.SamplingParams = Stand, SimpleNamespace
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(Stand, "wrong", None)


def test_vllm_is_asked_the_same_and_compared_on_a_few_tasks(tiny_model, tmp_path, vllm):
    evaluate.check({**SETTINGS, "generator": "vllm"})
    ours = ask(tiny_model, tmp_path / "ours")
    assert ask(tiny_model, tmp_path / "theirs", generator="vllm") == ours
    said = counts(tmp_path / "theirs")
    assert (said["generator"], said["checked"], said["agreed"]) == ("vllm", 5, 5)
    assert "checked" not in counts(tmp_path / "ours")


def test_vllm_that_answers_otherwise_is_told(tiny_model, tmp_path, vllm, monkeypatch, caplog):
    monkeypatch.setattr(Stand, "wrong", "f3(")
    ask(tiny_model, tmp_path, generator="vllm")
    assert counts(tmp_path)["agreed"] == 4
    assert "vllm and transformers give the same greedy reply to 4 of 5 tasks" in caplog.text


def test_vllm_samples_with_the_seed_of_each_unit_and_is_compared_greedily(tiny_model, tmp_path, vllm):
    warm = {"samples": 2, "temperature": 0.8}
    assert ask(tiny_model, tmp_path / "theirs", generator="vllm", **warm) == ask(tiny_model, tmp_path / "ours", **warm)
    assert counts(tmp_path / "theirs")["agreed"] == 5


def test_vllm_is_not_asked_what_has_no_room(tiny_model, tmp_path, vllm, monkeypatch):
    monkeypatch.setattr(models, "window", lambda config: 1)
    assert [row["tokens"] for row in ask(tiny_model, tmp_path, generator="vllm")] == [0] * 5


def test_prompts_are_those_of_the_protocol(tiny_model):
    asking = generate.Asking.of({"model": str(tiny_model), "settings": SETTINGS})
    texts = [protocol.of(asking.tokenizer, SETTINGS).prompt(task) for task in TASKS]
    assert asking.prompts(TASKS) == chat.encode(asking.tokenizer, texts)
