"""Held-out pairs and likelihoods without replies, through the front door."""

import pytest
from test_pipeline import main, options, result, workplace  # noqa: F401

from qaq import tables


@pytest.fixture(scope="module")
def sweep(workplace, tiny_model):  # noqa: F811
    asked = [
        *options(tiny_model),
        "data.held_out=0.2",
        "evaluate.samples=0",
        "selector=full,random",
        "budget=0.5",
        "train.seeds=[0,1]",
    ]
    done = main(workplace, "-m", *asked, "hydra.sweep.dir=held_out")
    assert done.returncode == 0, done.stdout + done.stderr
    return workplace / "held_out"


def test_every_model_is_measured_on_them_and_on_the_benchmarks_own_solutions_and_nothing_is_asked(sweep):
    said = result(sweep / "1")
    assert said["counts"]["held_out"] == 6
    assert (said["counts"]["kept"], said["counts"]["selected"]) == (24, 12)
    measured = {
        (row["selector"], row["benchmark"], row["metric"], row["pooled"], row["tasks"]) for row in said["values"]
    }
    assert measured == {(model, *what, seeds, tasks)
                        for model, seeds in (("base", 1), ("random", 1), ("random", 2))
                        for what, tasks in ((("humaneval (first 2 of 164)", "canonical_nll"), 2), (("held_out", "answer_nll"), 6))}  # fmt: skip
    assert "calibration" not in said
    assert not {key for key in said["keys"] if key.startswith(("truth", "verdicts"))}


def test_the_value_is_nats_per_token_of_their_answers(sweep):
    run, said = sweep / "1", result(sweep / "1")
    told = {
        row["train_seed"]: row["value"]
        for row in said["values"]
        if row["metric"] == "answer_nll" and row["selector"] == "random"
    }
    held = tables.read(run / "held_out.parquet")
    for seed in (0, 1):
        read = tables.read(run / f"held_out_random_seed{seed}.parquet").to_pylist()
        assert {row["id"] for row in read} == set(held["id"].to_pylist())
        assert {(row["target"], row["given"]) for row in read} == {("answer", "query")}
        assert told[seed] == pytest.approx(
            sum(row["nll_sum"] for row in read) / sum(row["tokens"] for row in read), abs=1e-12
        )
    assert told[None] == pytest.approx((told[0] + told[1]) / 2, abs=1e-12)


def test_the_difference_is_of_the_same_pairs(sweep):
    said = result(sweep / "1")
    value = {
        row["selector"]: row["value"]
        for row in said["values"]
        if row["metric"] == "answer_nll" and row["pooled"] + (row["selector"] == "base") == 2
    }
    [row] = [row for row in said["comparisons"] if row["metric"] == "answer_nll" and row["pooled"] == 2]
    assert row["value"] == pytest.approx(value["random"] - value["base"], abs=1e-9)
    assert (row["benchmark"], row["tasks"], row["won"] + row["lost"] + row["tied"]) == ("held_out", 6, 6)


def test_nobody_selects_from_them_and_the_base_is_read_once(sweep):
    held = set(tables.read(sweep / "1" / "held_out.parquet")["id"].to_pylist())
    for job in ("0", "1"):
        assert not held & set(tables.read(sweep / job / "subset.parquet")["id"].to_pylist())
        assert not held & set(tables.read(sweep / job / "metrics.parquet")["id"].to_pylist())
    assert result(sweep / "1")["reused"]["evaluate_base_held_out"]


def test_shares_that_leave_nothing_and_negative_samples_are_refused(workplace, tiny_model):  # noqa: F811
    for asked, message in (("data.held_out=1", "data.held_out=1.0: give a share in [0, 1)"),
                           ("evaluate.samples=-1", "evaluate.samples=-1: give a number above 0, or 0 to measure likelihoods only")):  # fmt: skip
        done = main(workplace, *options(tiny_model), asked)
        assert done.returncode != 0
        assert message in done.stdout + done.stderr
