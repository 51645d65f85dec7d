"""What a training run will cost is told from its own updates on rows of all lengths."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT

from qaq import tables
from qaq.train import measure
from qaq.train.rows import Row

SMOKE = yaml.safe_load((ROOT / "conf/train/smoke.yaml").read_text())


def row(number: int, length: int) -> Row:
    return Row(f"{number:03}", [0] * length, 1)


def asked(model: Path, out: Path, **changes) -> dict:
    """A request about twenty pairs of twenty lengths."""
    out.mkdir()
    pairs = [{"id": f"{i:02}", "query": f"write f{i}", "answer": "x = 1\n" * (i + 1)} for i in range(20)]
    pq.write_table(pa.Table.from_pylist(pairs), out / "pairs.parquet")
    settings = {**SMOKE, "system_prompt": None, "deepspeed": {}, "seed": 0, "dtype": "float32", "max_length": 100, "batch_size": 4,
                "micro_batch_size": 2}  # fmt: skip
    return {"model": str(model), "rows": str(out / "pairs.parquet"), "settings": settings, "window": 2048,
            "needed": {"fixed": 0, "token": 0, "logits": 0}, "seconds": 1e9, "weights": True, "device": "cpu", "out": str(out),
            **changes}  # fmt: skip


def test_the_longest_row_comes_first_and_the_others_are_spread_over_the_lengths():
    chosen = measure.spread([row(i, i + 10) for i in range(100)], 12)
    lengths = [len(r.ids) for r in chosen]
    assert lengths[0] == 109
    assert len(set(lengths)) == 12
    assert np.mean(lengths[1:]) == pytest.approx(np.mean(range(10, 109)), abs=1)
    assert lengths[1:] != sorted(lengths[1:], reverse=True)
    assert measure.spread([row(0, 5)], 12) == [row(0, 5)]


def test_seconds_a_token_leave_out_the_first_update_and_the_optimizer():
    found = measure._rates([(9.0, 3.0), (2.0, 0.5), (4.0, 0.5)], [100, 100, 200])
    assert found["token"] == pytest.approx(0.02)
    assert found["optimizer"] == 0.5
    assert found["error"] == 0
    assert found["done"] == pytest.approx(0.02 * 400 + 3 * 0.5)


def test_real_updates_are_timed_and_rows_are_counted_as_training_counts_them(tiny_model, tmp_path):
    from qaq.train.fit import fit

    request = asked(tiny_model, tmp_path / "m")
    measure.measure(request)
    found = json.loads((tmp_path / "m/measured.json").read_text())
    assert min(found["token"], found["padded"], found["done"], found["peak_bytes"]) > 0
    counted = tables.read(tmp_path / "m/rows.parquet")
    run = asked(tiny_model, tmp_path / "run")
    (tmp_path / "work").mkdir()
    fit({**run, "settings": {**run["settings"], "epochs": 1}, "work": str(tmp_path / "work")})
    real = json.loads((tmp_path / "run/counts.json").read_text())
    assert sum(counted["tokens"].to_pylist()) == real["tokens"]
    assert sum(counted["learned"].to_pylist()) == real["completion_tokens"]


def test_without_weights_the_rows_are_still_counted(tiny_model, tmp_path):
    measure.measure(asked(tiny_model, tmp_path / "m", weights=False))
    assert tables.read(tmp_path / "m/rows.parquet").num_rows == 20
    assert not (tmp_path / "m/measured.json").exists()


@pytest.mark.parametrize("part", ["fixed", "token", "logits"])  # on a CPU all logits are held
def test_a_run_that_would_not_fit_is_not_started(tiny_model, tmp_path, part):
    measure.measure(asked(tiny_model, tmp_path / "m", needed={"fixed": 0, "token": 0, "logits": 0, part: 1e18}))
    assert "GB are free" in json.loads((tmp_path / "m/measured.json").read_text())["not_measured"]
