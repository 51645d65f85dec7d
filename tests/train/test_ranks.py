"""Ranks and engines change where rows are read and weights are held, not what is learned."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from qaq.train.trainer import checkpoint_bytes

ROOT = Path(__file__).resolve().parents[2]
PAIRS = [
    {"id": f"{n:02}", "query": f"write f{n}" + " please" * (n % 3), "answer": "x = x + 1\n" * (1 + n % 4)}
    for n in range(11)
]


def train(model, out: Path, ranks: int, engine: str, dtype: str = "float32") -> tuple[list[float], dict]:
    """(losses, weights) of two epochs; an update takes 4 rows, an epoch's last one 3."""
    done = started(model, out, ranks, engine, dtype)
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [json.loads(line) for line in (out / "training.jsonl").open()]
    return [line["loss"] for line in lines], AutoModelForCausalLM.from_pretrained(out / "model").state_dict()


def started(model, out: Path, ranks: int, engine: str, dtype: str = "float32") -> subprocess.CompletedProcess:
    deepspeed = yaml.safe_load((ROOT / f"conf/train/deepspeed/{engine}.yaml").read_text())
    settings = {**yaml.safe_load((ROOT / "conf/train/smoke.yaml").read_text()), "system_prompt": None, "deepspeed": deepspeed,
                "seed": 0, "epochs": 2, "batch_size": 4, "micro_batch_size": 1, "learning_rate": 1e-3, "dtype": dtype,
                "max_length": 256, "save_steps": 2}  # fmt: skip
    (out / "work").mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(PAIRS), out / "rows.parquet")
    request = {"model": str(model), "rows": str(out / "rows.parquet"), "settings": settings, "device": "cpu",
               "work": str(out / "work"), "out": str(out)}  # fmt: skip
    (out / "request.json").write_text(json.dumps(request))
    start = [sys.executable, "-m"]
    if ranks > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*start, "qaq.train", str(out / "request.json")], env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def alone(tiny_model, tmp_path_factory):
    return train(tiny_model, tmp_path_factory.mktemp("alone"), 1, "none")


@pytest.mark.parametrize("engine", ["none", "zero0", "zero1", "zero2", "zero3"])
def test_two_ranks_learn_what_one_process_learns(tiny_model, alone, tmp_path, engine):
    losses, weights = train(tiny_model, tmp_path, 2, engine)
    assert losses == pytest.approx(alone[0], abs=1e-4)
    assert weights.keys() == alone[1].keys()
    assert all(torch.allclose(weights[name], alone[1][name], atol=1e-4) for name in weights)
    (kept,) = tmp_path.glob("work/checkpoint-4")
    size = sum(file.stat().st_size for file in kept.rglob("*") if file.is_file())
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert (
        0 <= size - checkpoint_bytes(model, engine != "none") < 150_000
    )  # the tokenizer, and what a small model's files hold


@pytest.mark.parametrize("engine", ["zero2", "zero3"])
def test_in_bfloat16_only_rounding_differs(tiny_model, tmp_path, engine):
    losses, _ = train(tiny_model, tmp_path / "two", 2, engine, "bfloat16")
    assert losses == pytest.approx(train(tiny_model, tmp_path / "alone", 1, "none", "bfloat16")[0], rel=5e-3)


def test_one_rank_on_deepspeed_learns_the_same_and_needs_no_launcher(tiny_model, alone, tmp_path):
    assert train(tiny_model, tmp_path, 1, "zero2")[0] == pytest.approx(alone[0], abs=1e-4)


@pytest.mark.parametrize("engine", ["none", "zero0", "zero2", "zero3"])
def test_other_ranks_go_on_from_a_checkpoint_with_the_same_batch(tiny_model, alone, tmp_path, engine):
    train(tiny_model, tmp_path, 2, engine)
    (tmp_path / "training.jsonl").rename(tmp_path / "work/training.jsonl")  # as if killed before the model was saved
    done = started(tiny_model, tmp_path, 1, engine)
    if engine == "zero3":
        assert "written by 2 ranks under ZeRO-3, this run has 1" in done.stderr
        return
    assert "training goes on from step 4" in done.stderr
    losses = [json.loads(line)["loss"] for line in (tmp_path / "training.jsonl").open()]
    assert losses == pytest.approx(alone[0], abs=1e-4)
