"""What every run tells of leakage, and data.decontaminate through the front door; benchmarks that are not at hand."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_pipeline import main, options, result

from qaq import evaluate, leakage, report, tables
from qaq.evaluate import benchmark
from qaq.store import Store

HUMANEVAL = dict(evaluate.prompts({"benchmark": "humaneval", "path": None, "limit": None}))
MBPP = {"Mbpp/2": "Write a function to find the shared elements.\nassert f([1], [1]) == [1]\n",
        "Mbpp/3": "Tell whether a number is a prime.\nassert not prime(4)\n"}  # fmt: skip


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """Twenty records, the sixth of them HumanEval/3 and the seventh Mbpp/2 in full; a file of two MBPP tasks."""
    place = tmp_path_factory.mktemp("leaky")
    queries = [f"Number {i} is to be added to what is given, and the result is given back." for i in range(20)]
    queries[5], queries[6] = HUMANEVAL["HumanEval/3"], MBPP["Mbpp/2"]
    tables.write_jsonl([{"instruction": query, "output": f"def f(x):\n    return x + {i}"} for i, query in enumerate(queries)],
                       place / "pairs.jsonl")  # fmt: skip
    tables.write_jsonl([{"task_id": task, "prompt": prompt} for task, prompt in MBPP.items()], place / "mbpp.jsonl")
    return place


@pytest.fixture(scope="module")
def sweep(workplace, tiny_model) -> Path:
    asked = [*options(tiny_model), "stages=[load,score,select]", "leakage.mbpp=mbpp.jsonl", "selector=full,random", "budget=2",
             "hydra.sweep.dir=sweep"]  # fmt: skip
    done = main(workplace, "-m", *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    return workplace / "sweep"


def test_a_run_tells_what_its_data_and_its_selection_give_away(sweep):
    full, some = (result(sweep / number) for number in "01")
    rows = {(row["benchmark"], row["part"]): row for row in full["leakage"]}
    assert [(*key, row["tasks"], row["pairs"], row["note"]) for key, row in rows.items()] == [
        (name, part, tasks, 20, None)
        for name, tasks in (("humaneval", 164), ("mbpp", 2))
        for part in ("data", "selection")
    ]
    for name, leaking in (("humaneval", 1), ("mbpp", 1)):
        assert rows[name, "data"]["leaking"] == leaking
        assert rows[name, "data"]["tli"] == rows[name, "selection"]["tli"]
    assert rows["mbpp", "data"]["tli"] == 0.5  # one task in full, nothing of the other
    for before, after in zip(full["leakage"], some["leakage"], strict=True):
        assert after["pairs"] == (20 if after["part"] == "data" else 2)
        assert after["tli"] == before["tli"] if after["part"] == "data" else after["tli"] <= before["tli"]
    records = list(tables.read_jsonl(sweep / "0" / "metrics.jsonl"))
    assert any(record.get("tli_mbpp_data") == 0.5 for record in records)


def test_leakage_parquet_has_a_row_for_each_task_and_leaks_parquet_the_two_texts_of_the_worst(sweep):
    table, leaks = (tables.read(sweep / "0" / f"{name}.parquet").to_pylist() for name in ("leakage", "leaks"))
    tasks, shown = ({(row["benchmark"], row["part"], row["task_id"]): row for row in rows} for rows in (table, leaks))
    assert len(tasks) == 2 * (164 + 2)
    assert all(row["query"] is row["test"] is None for row in table)  # this one goes to W&B
    for part in ("data", "selection"):
        worst = shown["humaneval", part, "HumanEval/3"]
        assert worst["similarity"] == tasks["humaneval", part, "HumanEval/3"]["similarity"] == 1
        assert worst["query"] == worst["test"] == HUMANEVAL["HumanEval/3"]
        assert tasks["mbpp", part, "Mbpp/2"]["similarity"] == 1
        assert tasks["mbpp", part, "Mbpp/3"] == {"benchmark": "mbpp", "part": part, "task_id": "Mbpp/3", "similarity": 0,
                                                 "id": None, "query": None, "test": None}  # fmt: skip
    found = [row for row in leaks if (row["benchmark"], row["part"]) == ("humaneval", "data")]
    assert 0 < len(found) <= 20
    assert all(row["query"] and row["test"] for row in found)


def test_the_grams_are_looked_for_once_in_a_sweep(sweep):
    first, second = (result(sweep / number) for number in "01")
    for name in ("leakage_humaneval", "leakage_mbpp"):
        assert first["keys"][name] == second["keys"][name]
        assert (first["reused"][name], second["reused"][name]) == (False, True)


def test_decontaminated_data_gives_nothing_away_and_a_missing_benchmark_is_told(workplace, tiny_model):
    asked = [*options(tiny_model), "stages=[load,score,select]", "selector=full", "data.decontaminate=0.05",
             "leakage.benchmarks=[humaneval]", "hydra.run.dir=clean"]  # fmt: skip
    done = main(workplace, *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    said = result(workplace / "clean")
    assert said["counts"] == {"rows": 20, "kept": 19, "quarantined": 1, "selected": 19}
    assert [row["leaking"] for row in said["leakage"]] == [0, 0]
    quarantine = list(tables.read_jsonl(workplace / "clean" / "quarantine.jsonl"))
    assert [(line["row"], line["reason"]) for line in quarantine] == [
        (5, "leaks HumanEval/3 (humaneval): similarity 1.000, data.decontaminate=0.05")
    ]


def job(place: Path, monkeypatch, **leakage_options) -> SimpleNamespace:
    """As much of a job as is looked at before anything is loaded; MBPP's address is one that nobody serves."""
    release = benchmark.RELEASES["mbpp"]
    monkeypatch.setitem(
        benchmark.RELEASES,
        "mbpp",
        type(release)(release.name, release.dataset, release.sha256, "http://127.0.0.1:9/m.gz"),
    )
    settings = {
        "text": "query",
        "threshold": 0.05,
        "benchmarks": ["humaneval", "mbpp"],
        "humaneval": None,
        "mbpp": None,
    }
    return SimpleNamespace(store=Store(place / "store"), cfg={"data": {"decontaminate": 0.05}, "leakage": {**settings, **leakage_options},
                                                              "evaluate": {"benchmark": "humaneval", "path": None}})  # fmt: skip


def test_decontaminating_against_a_benchmark_that_cannot_be_had_is_refused_with_the_way_out(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"data.decontaminate=0.05 needs mbpp: cannot fetch .*leakage\.mbpp=FILE; or leave it out of "
                                         r"leakage\.benchmarks"):  # fmt: skip
        leakage.wanted(job(tmp_path, monkeypatch))
    with pytest.raises(ValueError, match=r"leakage\.benchmarks=\[\]: name one of humaneval, mbpp"):
        leakage.wanted(job(tmp_path, monkeypatch, benchmarks=[]))


def test_a_file_named_here_or_for_the_evaluation_is_at_hand(tmp_path, monkeypatch, workplace):
    named = job(tmp_path, monkeypatch, mbpp=str(workplace / "mbpp.jsonl"))
    assert leakage.wanted(named).table["task_id"].to_pylist() == [*HUMANEVAL, *MBPP]
    evaluated = job(tmp_path, monkeypatch, benchmarks=["mbpp"])
    evaluated.cfg["evaluate"] = {"benchmark": "mbpp_plus", "path": str(workplace / "mbpp.jsonl")}
    assert leakage.wanted(evaluated).table["text"].to_pylist() == list(MBPP.values())
    evaluated.cfg["data"]["decontaminate"] = None
    assert leakage.wanted(evaluated) is None


def test_the_summary_shows_both_parts_and_why_a_benchmark_is_missing():
    row = {"benchmark": "humaneval", "tli": 0.034, "tasks": 164, "pairs": 7, "leaking": 2, "note": None}
    missing = {
        "benchmark": "mbpp",
        "tli": None,
        "tasks": None,
        "pairs": 7,
        "leaking": None,
        "note": "mbpp: not at hand",
    }
    rows = [{**one, "part": part} for one in (row, missing) for part in ("data", "selection")]
    said = report.summary({"selector": "full", "budget": 1, "status": "complete", "counts": {}, "seconds": {}, "reused": {}, "values": [],
                           "leakage": rows, "config": {"leakage": {"threshold": 0.05, "text": "query"}}})  # fmt: skip
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if "│" in line]
    assert [["humaneval", part, "3.40%", "164", "7", "2"] for part in ("data", "selection")] == cells
    assert said.count("mbpp: not at hand") == 1
    assert json.dumps(rows)
