import base64
import gzip
import json
import re
import subprocess
import sys
from dataclasses import replace

import hostile_logs
import pyarrow as pa
import pytest

from analysis import findings, logs, report


@pytest.fixture(scope="module")
def made():
    return hostile_logs.logs()


@pytest.fixture(scope="module")
def found(made):
    return findings.findings(made)


def unpacked(page):
    packed = re.search(r'<script type="application/octet-stream" id="data">([^<]*)</script>', page)[1]
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def test_the_file_holds_exactly_what_was_found(found):
    assert unpacked(report.page(found)) == found


def test_the_same_logs_give_the_same_bytes(made, found):
    assert report.page(findings.findings(made)) == report.page(found)


def test_no_text_of_a_pair_or_a_run_stands_in_the_page_itself(found):
    page = report.page(found)
    assert "window.injected" not in page
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
    assert "&lt;b&gt;data&lt;/b&gt;" in page  # the title


def test_half_a_surrogate_pair_survives():
    text = unpacked(report.page({"title": "", "pairs": ["\ud800 left", "right \udfff"]}))["pairs"]
    assert text == ["\ud800 left", "right \udfff"]


def test_the_page_asks_for_nothing_from_outside(found):
    page = re.sub(r'id="data">[^<]*<', 'id="data"><', report.page(found))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert re.findall(r"https?://[^\s\"']+", page) == ["http://www.w3.org/2000/svg"]  # a name, not an address


def test_markup_is_never_made_from_text():
    source = "".join((report.PARTS / name).read_text() for name in report.SCRIPTS)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser", source
    )


def test_every_script_of_the_folder_is_part_of_the_page():
    assert {file.name for file in report.PARTS.glob("*.js")} == set(report.SCRIPTS)


def test_a_failed_run_and_a_cell_without_a_run_are_told(found):
    told = [(run["label"], run["status"], run["usable"]) for run in found["runs"]]
    assert told == [
        ("random 25%", "failed", False),
        ("stratified 25%, seed 0", "complete", True),
        ("stratified 25%, seed 1", "missing", False),
        ("stratified 10%", "complete", True),
    ]


def test_a_base_model_that_runs_share_stands_once(found):
    models = [row["model"] for row in found["results"] if row["metric"] == "pass@1"]
    assert models == ["base model", "stratified 25%, seed 0", "stratified 10%"]


def test_subsets_point_at_the_pairs_that_were_selected_best_first(made, found):
    scoring = found["scorings"][0]
    for subset in scoring["subsets"]:
        rows = [row for row in made.subsets.to_pylist() if row["run"] == subset["runs"][0]]
        best_first = [row["id"] for row in sorted(rows, key=lambda row: row["rank"])]
        assert [scoring["ids"][i] for i in subset["order"]] == best_first


def test_two_runs_with_the_same_subset_share_it_and_runs_alike_are_told_apart(made):
    run = next(run for run in made.runs.to_pylist() if run["status"] == "complete" and run["budget"] == "0.25")
    rows = [row for row in made.subsets.to_pylist() if row["run"] == run["run"]]
    both = pa.Table.from_pylist([*rows, *({**row, "run": "f" * 12} for row in rows)])
    runs = pa.Table.from_pylist([run, {**run, "run": "f" * 12, "seed": 1}])
    subsets = findings.findings(replace(made, runs=runs, subsets=both))["scorings"][0]["subsets"]
    assert [subset["label"] for subset in subsets] == ["stratified 25%, seed 0 = stratified 25%, seed 1"]


def test_a_stratified_rank_is_the_share_of_its_decile_below_it(made):
    columns = findings.findings(made)["scorings"][0]["columns"]
    inside = [(rank, rmi) for rank, rmi, decile in zip(columns["rank"], columns["rmi"], columns["decile"], strict=True)
              if decile == 3]  # fmt: skip
    assert len(inside) == 6
    assert [rank for rank, _ in sorted(inside, key=lambda one: one[1])] == pytest.approx(
        [(i + 0.5) / 6 for i in range(6)], abs=1e-4
    )


@pytest.mark.parametrize("gone", [("pairs", "quarantine"), ("metrics", "subsets"), ("results", "comparisons"),
                                  ("composition", "tli", "leakage")])  # fmt: skip
def test_logs_without_texts_scores_or_results_still_give_a_report(made, gone):
    held = {name: None if name in ("pairs", "quarantine") else getattr(made, name).slice(0, 0) for name in gone}
    page = report.page(findings.findings(replace(made, **held)))
    assert unpacked(page)["title"].endswith("random, stratified")


def test_the_command_writes_one_file_and_says_how_large_it_is(made, tmp_path):
    logs.write(made, tmp_path / "logs")
    command = [
        sys.executable,
        hostile_logs.ROOT / "analysis/report.py",
        tmp_path / "logs",
        "--out",
        tmp_path / "r.html",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == f"{tmp_path / 'r.html'}: 0.1 MB\n"
    assert unpacked((tmp_path / "r.html").read_text())["runs"][0]["selector"] == "random"


def test_a_source_without_runs_is_refused_in_a_line(tmp_path):
    command = [
        sys.executable,
        hostile_logs.ROOT / "analysis/report.py",
        tmp_path / "gone",
        "--out",
        tmp_path / "r.html",
    ]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 2
    assert said.stderr.startswith(f"refused: {tmp_path / 'gone'} holds no run")
    assert said.stderr.count("\n") == 1
    assert not (tmp_path / "r.html").exists()
