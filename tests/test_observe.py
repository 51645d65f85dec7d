"""Quality signals through the front door: asked once, kept as tables of their own, joined by id to what the selector sees."""

import json

import numpy as np
import pytest
from test_pipeline import main, result

from qaq import tables


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Thirty conversations of one or two turns, and a query set."""
    folder = tmp_path_factory.mktemp("observed")
    rows = []
    for i in range(30):
        turns = [
            ("user", f"Write a function number {i} that adds {'one ' * (i % 7)}to x."),
            ("assistant", f"def f{i}(x):\n    return x + {i}"),
        ]
        more = (
            [("user", f"Now subtract {i}."), ("assistant", f"def g{i}(x):\n    return x - {i}")] if i % 3 == 0 else []
        )
        rows.append({"messages": [{"role": role, "content": text} for role, text in turns + more]})
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    items = [{"instruction": f"Add {i} to a number.", "output": f"def add(x):\n    return x + {i}"} for i in range(3)]
    (folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    return folder


def asked(tiny_model, *more: str) -> list[str]:
    models = [option for name in ("complexity", "unit_tests", "embedding", "rds")
              for option in (f"model@signals.{name}.model=local", f"signals.{name}.model.path={tiny_model}", f"signals.{name}.dtype=float32")]  # fmt: skip
    return ["data=jsonl", "data.path=pairs.jsonl", "scorer=local", f"scorer.model.path={tiny_model}", "scorer.dtype=float32",
            "data.turns=every", "stages=[load,score,select]", "tracking=off", "signals.unit_tests.max_new_tokens=4",
            "signals.rds.queries.path=items.jsonl", "signals.embedding.pooling=mean", *models, *more]  # fmt: skip


@pytest.fixture(scope="module")
def sweep(place, tiny_model):
    options = ["selector=xcoder", "selector.quality=false", "selector.diversity=0.99999"]
    xcoder = main(place, *asked(tiny_model, *options, "hydra.run.dir=sweep/xcoder"))
    again = main(place, *asked(tiny_model, *options, "hydra.run.dir=sweep/again", "budget=0.5"))
    rds = main(place, *asked(tiny_model, "selector=rds", "data.noise=0.2", "hydra.run.dir=sweep/rds"))
    for done in (xcoder, again, rds):
        assert done.returncode == 0, done.stdout + done.stderr
    return place / "sweep"


def table(run, name: str) -> dict[str, dict]:
    return {row["id"]: row for row in tables.read(run / f"{name}.parquet").to_pylist()}


def chosen(run) -> list[str]:
    return tables.read(run / "subset.parquet")["id"].to_pylist()


def test_the_selector_sees_each_pairs_own_signal(sweep):
    """The ranking again, from the tables that lie in the run's directory."""
    complexity, scores = table(sweep / "xcoder", "complexity"), tables.read(sweep / "xcoder/subset.parquet").to_pylist()
    values = [row["complexity"] for row in complexity.values()]
    low, high = min(values), max(values)
    for row in scores:
        assert row["priority"] == pytest.approx((complexity[row["id"]]["complexity"] - low) / (high - low), abs=1e-12)
    left_out = set(complexity) - set(chosen(sweep / "xcoder"))
    worst = min(complexity[id]["complexity"] for id in chosen(sweep / "xcoder"))
    embedding = {
        id: np.array(row["embedding"], dtype=np.float64) for id, row in table(sweep / "xcoder", "embedding").items()
    }
    for id in left_out:  # worse, or too close to one that was taken
        close = max(float(embedding[id] @ embedding[other]) for other in chosen(sweep / "xcoder"))
        assert complexity[id]["complexity"] <= worst or close >= 0.99999


def test_a_conversations_queries_are_scored_alone_and_summed(sweep):
    examples = table(sweep / "xcoder", "examples")
    for id, row in table(sweep / "xcoder", "complexity").items():
        assert row["complexity_queries"] == len(json.loads(examples[id]["record"])["messages"]) // 2


def test_another_budget_asks_nobody_again(sweep):
    said = result(sweep / "again")
    assert said["reused"] == dict.fromkeys(said["reused"], True)
    assert len(chosen(sweep / "again")) == 15


def test_what_was_asked_is_told_with_its_counts(sweep):
    said = result(sweep / "xcoder")
    assert said["signals"] == {name: {"pairs": 30, "truncated": 0} for name in ("complexity", "embedding")}
    assert {"complexity", "embedding"} <= set(said["code"])


def test_where_noise_is_planted_a_selector_whose_signals_are_not_there_says_so(sweep):
    by_selector = {row["selector"]: row for row in result(sweep / "rds")["noise_by_selector"]}
    assert by_selector["xcoder"]["note"] == "needs complexity, quality, embedding: selector=xcoder"
    assert by_selector["rds"]["selected"] == 8


def test_rds_takes_each_items_nearest_in_turn(sweep):
    similarity = {id: row["similarity"] for id, row in table(sweep / "rds", "rds").items()}
    taken: list[str] = []
    for turn in range(len(chosen(sweep / "rds"))):
        left = sorted(set(similarity) - set(taken))
        taken.append(max(left, key=lambda id: similarity[id][turn % 3]))
    assert chosen(sweep / "rds") == taken


def test_answers_that_no_test_was_written_for_leave_nothing_to_rank_by(place, tiny_model):
    done = main(place, *asked(tiny_model, "selector=xcoder", "hydra.run.dir=untested", "data.turns=first"))
    assert done.returncode == 1
    assert "none of 30 answers was tested" in result(place / "untested")["error"]
    found = table(place / "untested", "quality")
    assert {row["quality_status"] for row in found.values()} == {"no tests"}  # a model of random weights writes none
    assert result(place / "untested")["signals"]["quality"] == {
        "pairs": 30,
        "no tests": 30,
        "tests written": 0,
        "tests passed": 0,
    }


def test_a_query_set_that_holds_the_benchmarks_tasks_is_refused_before_any_scoring(place, tiny_model):
    from qaq import evaluate

    task = evaluate.tasks({"benchmark": "humaneval", "path": None, "limit": 3})[2]
    row = {"instruction": f"Please complete this function.\n\n{task.prompt}", "output": task.canonical_solution}
    (place / "leaking.jsonl").write_text((place / "items.jsonl").read_text() + json.dumps(row) + "\n")
    options = ["selector=rds", "signals.rds.queries.path=leaking.jsonl", "hydra.run.dir=leaking"]
    done = main(place, *asked(tiny_model, *options, "stages=[load,score,select,train,evaluate]"))
    assert done.returncode == 1
    assert "1 of 4 records are tasks of humaneval" in result(place / "leaking")["error"]
    assert "record 3 is HumanEval/2" in result(place / "leaking")["error"]
    assert not (place / "leaking/metrics.parquet").exists()


@pytest.mark.parametrize(
    ("option", "words"), [("selector=scar", "signals=paper"), ("selector=rds", "signals.rds.queries.path=FILE")]
)
def test_a_signal_nobody_can_give_is_refused_before_any_work(place, option, words):
    done = main(place, option, "tracking=off")
    assert done.returncode == 2
    assert done.stderr.startswith("refused"), done.stderr
    assert words in done.stderr
