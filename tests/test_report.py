"""What is printed is what was measured."""

import json

import numpy as np

from qaq import report, tables


def test_a_sweep_shows_every_job_also_the_ones_that_failed_or_never_started(tmp_path):
    done = {"status": "complete", "selector": "ifd", "budget": 0.1, "counts": {"selected": 5},
            "config": {"evaluate": {"benchmark": "humaneval"}},
            "values": [{"selector": "ifd", "benchmark": "humaneval", "metric": "pass@1", "value": 0.25, "low": 0.1, "high": 0.4,
                        "pooled": 1}]}  # fmt: skip
    for job, result in {"0": done, "1": {**done, "status": "failed", "error": "no disk", "values": []}}.items():
        (tmp_path / job).mkdir()
        (tmp_path / job / "result.json").write_text(json.dumps(result))
    (tmp_path / "2").mkdir()
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "result.json").write_text(json.dumps({**done, "partial": " (first 2 of 164)"}))
    rows = report.sweep_rows([tmp_path / str(i) for i in range(4)])
    assert rows[0] == ["0", "ifd", 0.1, "complete", 5, "-", "25.0% [10.0%, 40.0%]", "-"]
    assert rows[1][3] == "failed: no disk"
    assert rows[2][3] == "not started"
    assert rows[3][3] == "complete (first 2 of 164)"


def test_the_rmi_figure_is_a_picture(tmp_path):
    rng = np.random.default_rng(0)
    metrics = tables.conform({"id": [str(i) for i in range(50)], "rmi": rng.normal(size=50)}, tables.METRICS)
    subset = tables.conform({"rank": [0, 1], "id": ["3", "7"]}, tables.SUBSET)
    report.rmi_figure(metrics, subset, tmp_path / "rmi.png")
    assert (tmp_path / "rmi.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_keeps_every_cell():
    text = report.table("t", ("name", "value"), [["a", 0.12345], ["b", None]])
    assert "0.123" in text
    assert "│ b" in text


def test_a_finished_run_shows_counts_and_what_was_won_and_lost_and_says_if_it_is_partial():
    shared = {"benchmark": "humaneval", "run": "g/0", "tasks": 20, "low": 0.1, "high": 0.4, "train_seed": None}
    share = {**shared, "metric": "pass@1", "value": 0.25, "count": 5, "of": 20}
    values = [{**share, "selector": "base", "pooled": 1}, {**share, "selector": "ifd", "pooled": 3, "of": 60, "count": 15},
              {**share, "selector": "ifd", "pooled": 1, "train_seed": 7, "run": "g/0 training seed 7"},
              {**shared, "metric": "canonical_nll", "value": None, "count": None, "of": None, "selector": "base", "pooled": 1}]  # fmt: skip
    compared = [{**shared, "metric": "pass@1", "value": 0.05, "low": -0.021, "p": 0.0004, "won": 3, "lost": 2, "tied": 15,
                 "selector": "ifd", "pooled": 3}]  # fmt: skip
    result = {"counts": {}, "seconds": {}, "reused": {}, "selector": "ifd", "budget": 0.1, "status": "complete", "values": values,
              "comparisons": compared, "partial": " (first 20 of 164)", "config": {"evaluate": {"benchmark": "humaneval"}}}  # fmt: skip
    said = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in report.summary(result).splitlines() if "│" in line
    ]
    assert ["base", "pass@1", "25.0% [10.0%, 40.0%]", "5 / 20"] in said
    assert ["ifd, 3 seeds pooled", "pass@1", "25.0% [10.0%, 40.0%]", "15 / 60"] in said
    assert ["ifd, seed 7", "pass@1", "25.0% [10.0%, 40.0%]", "5 / 20"] in said
    assert ["base", "canonical_nll", "-", "20 tasks"] in said
    assert ["ifd, 3 seeds pooled", "pass@1", "+5.0 [-2.1, +40.0]", "3/2/15", "<0.001"] in said
    assert report.summary(result).count("PARTIAL") == 2
    whole = {**result, "partial": ""}
    assert "PARTIAL" not in report.summary(whole)
