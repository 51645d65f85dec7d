"""Signals between the store and the selector: what is asked again, and what a kill costs. Models are played by a function."""

from pathlib import Path

import pyarrow as pa
import pytest

from qaq import observe, tables
from qaq.job import Job, Model
from qaq.shards import Shards
from qaq.signals import quality, unit_tests
from qaq.store import Store
from qaq.tables import EXAMPLES, METRICS

ADD, WRONG = "def add(a, b):\n    return a + b\n", "def add(a, b):\n    return a - b\n"
UNIT_TESTS = {"model": {"packages": None}, "prompt": "{answer}", "count": 2, "seconds": 20.0, "memory_mb": 512, "batch_size": 2,
              "require_isolation": None, "workers": 1}  # fmt: skip

QUALITY = {"name": "xcoder", "complexity": None, "quality": True, "passed": "count", "unscored": "mean", "alpha": 0.5,
           "norm": "minmax", "diversity": None, "exact_up_to": 10}  # fmt: skip


class Played(Job):
    """A job whose workers write two tests for every pair, and count what they were asked."""

    def model(self, stage: str, spec: dict, template: bool = True) -> Model:
        return Model("m1", lambda: Path("m1"))

    def workers(self, module: str, request: dict, left) -> None:
        ids = tables.read(Path(request["pairs"]), ["id"])["id"].to_numpy()
        shards = Shards(Path(request["shards"]), unit_tests.SCHEMA, "unit tests")
        rows = shards.missing(ids)
        self.result["asked"] = len(rows)
        said = ["assert add(1, 2) == 3", "assert add(2, 0) == 2"]
        shards.take(
            ids,
            [rows],
            lambda rows: pa.table([ids[rows], [""] * len(rows), [said] * len(rows)], schema=unit_tests.SCHEMA),
        )


def seen(place: Path, answers: list[str], **changes) -> tuple[list[tuple], Job]:
    """(id, tests, passed, status) of METRICS in another order than EXAMPLES, and the job."""
    place.mkdir(exist_ok=True)
    rows = [
        {"id": f"{k}", "row": k, "query": f"q{k}", "answer": answer, "record": "{}"} for k, answer in enumerate(answers)
    ]
    tables.write(tables.conform(rows, EXAMPLES), place / "examples.parquet")
    cfg = {"selector": QUALITY, "data": {"turns": "first"},
           "signals": {"unit_tests": {**UNIT_TESTS, **changes}, "characters_per_shard": 100}}  # fmt: skip
    result = {"keys": {}, "seconds": {}, "reused": {}, "asked": 0}
    job = Played(cfg, place, Store(place / "store"), tracker=None, result=result)
    metrics = observe.observed(
        job, place / "examples.parquet", tables.conform({"id": [row["id"] for row in rows][::-1]}, METRICS)
    )
    return [tuple(row.values()) for row in metrics.select(["id", "tests", "passed", "quality_status"]).to_pylist()], job


EXPECTED = [("2", None, None, "not python"), ("1", 2, 1, "tested"), ("0", 2, 2, "tested")]


def test_signals_are_joined_by_id_and_asked_again_only_if_something_that_tells_has_changed(tmp_path):
    found, job = seen(tmp_path, [ADD, WRONG, "no code"])
    assert found == EXPECTED
    assert job.result["asked"] == 3
    verdicts = tables.read(tmp_path / "test_verdicts.parquet")
    assert verdicts.schema == quality.VERDICTS
    assert [tuple(row.values())[::3] for row in verdicts.to_pylist()] == [
        ("0", "pass"),
        ("0", "pass"),
        ("1", "fail"),
        ("1", "pass"),
    ]
    assert verdicts["place"].to_pylist() == [0, 1, 0, 1]
    found, job = seen(tmp_path, [ADD, WRONG, "no code"], seconds=30.0, memory_mb=600, workers=2)
    assert (found, job.result["asked"]) == (EXPECTED, 0)  # other limits: tests run anew, and are not written anew
    assert job.result["reused"] == {"unit_tests": True, "quality": False}
    assert seen(tmp_path, [ADD, WRONG, "no code"], count=3)[1].result["asked"] == 3


def test_a_kill_among_the_tests_and_a_longer_file_cost_no_answer_that_was_judged(tmp_path, monkeypatch):
    judged, whole = [], quality.quality

    def mortal(tests, answers, settings, done):
        judged.append(answers["id"].to_pylist())
        if len(judged) == 3:
            raise KeyboardInterrupt
        return whole(tests, answers, settings, done)

    monkeypatch.setattr(quality, "quality", mortal)
    monkeypatch.setattr(quality, "AT_ONCE", 1)
    with pytest.raises(KeyboardInterrupt):
        seen(tmp_path, [ADD, WRONG, "no code"])
    assert seen(tmp_path, [ADD, WRONG, "no code", ADD])[0] == [("3", 2, 2, "tested"), *EXPECTED]
    assert judged == [["0"], ["1"], ["2"], ["2"], ["3"]]


def test_a_query_set_that_cannot_be_read_is_told_before_anything_is_scored(tmp_path):
    queries = {"path": str(tmp_path / "none.jsonl"), "id": None, "name": "query_set", "turns": "first", "limit": None, "query": None,
               "answer": None, "input": None, "noise": 0, "near_duplicates": None, "decontaminate": None, "held_out": 0.0, "seed": 0}  # fmt: skip
    cfg = {"selector": {"name": "rds"}, "stages": ["load", "score", "select"], "signals": {"rds": {"queries": queries}}}
    with pytest.raises(ValueError, match="signals.rds.queries in place of data: .*none.jsonl: there is no such file"):
        observe.ready(Played(cfg, tmp_path, Store(tmp_path / "store"), tracker=None, result={}))


def test_an_isolation_that_this_machine_lacks_is_told_before_anything_is_scored(tmp_path):
    cfg = {"selector": QUALITY, "stages": ["load", "score", "select"], "launch": {"dry_run": False},
           "signals": {"unit_tests": {**UNIT_TESTS, "require_isolation": "a vault"}}}  # fmt: skip
    with pytest.raises(ValueError, match="require_isolation=a vault: known, the strongest first"):
        observe.ready(Played(cfg, tmp_path, Store(tmp_path / "store"), tracker=None, result={}))
