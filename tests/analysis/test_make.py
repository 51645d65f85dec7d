"""paper_figs/ as a whole: the same bytes anywhere, a manifest that does not lie, refusals."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest
import small_logs

from analysis import logs, make
from qaq.store import file_digest

SCRIPT = small_logs.ROOT / "analysis" / "make.py"
HOSTILE = "font.size: 30\nfigure.figsize: 9, 9\nsavefig.dpi: 50\nsavefig.bbox: tight\npdf.fonttype: 3\naxes.grid: True\nfont.family: serif\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("logs")
    logs.write(make.joined([small_logs.small(), small_logs.spoiled(), small_logs.patient()]), place)
    return place


def called(folder: Path, out: Path, **environment: str) -> Path:
    """`make.py` in a process of its own."""
    asked = [sys.executable, str(SCRIPT), str(folder), "--out", str(out)]
    made = subprocess.run(asked, capture_output=True, text=True, cwd=out.parent, env={**os.environ, **environment})
    assert made.returncode == 0, made.stderr
    return out


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory) -> Path:
    return called(folder, tmp_path_factory.mktemp("one") / "out", PYTHONHASHSEED="1")


def test_every_figure_and_table_is_there_in_both_forms(made):
    figures, tables = ({make.name(module) for module in make.modules(kind)} for kind in ("figures", "tables"))
    assert figures == {"rmi", "strata", "rmi_ifd", "disagreement", "overlap", "budget", "noise", "training",
                       "composition", "differences"}  # fmt: skip
    assert tables == {
        "main",
        "disagreement",
        "correlations",
        "cost",
        "composition",
        "leakage",
        "detection",
        "differences",
        "spoiling",
        "updates",
    }
    expected = {f"{name}.{kind}" for name in figures for kind in ("pdf", "png")}
    expected |= {f"table_{name}.{kind}" for name in tables for kind in ("md", "tex")}
    assert {file.name for file in made.iterdir()} == expected | {"manifest.json"}


def test_the_same_logs_give_the_same_bytes_in_another_process_with_other_settings(folder, made, tmp_path):
    (tmp_path / "matplotlibrc").write_text(HOSTILE)  # matplotlib reads it from the working directory too
    other = called(folder, tmp_path / "out", PYTHONHASHSEED="2", MATPLOTLIBRC=str(tmp_path / "matplotlibrc"), TZ="Asia/Tokyo",
                   LANG="C", MPLBACKEND="pdf")  # fmt: skip
    for file in sorted(made.iterdir()):
        assert (other / file.name).read_bytes() == file.read_bytes(), file.name


def test_the_manifest_names_each_file_its_bytes_its_data_and_the_commit(made, folder):
    manifest = json.loads((made / "manifest.json").read_text())
    files = {file.name for file in made.iterdir()} - {"manifest.json"}
    assert set(manifest["files"]) == files
    assert all(entry["sha256"] == file_digest(made / name) for name, entry in manifest["files"].items())
    assert manifest["commit"] == make.commit()


def test_a_digest_of_data_moves_with_the_tables_that_a_figure_uses_and_with_no_other(made, folder, tmp_path):
    held = logs.read(folder)
    rows = [row | {"loss": row["loss"] + 1} for row in held.training.to_pylist()]
    altered = replace(held, training=logs.conform(training=rows).training)
    before = json.loads((made / "manifest.json").read_text())["files"]
    after = make.make(altered, tmp_path / "out")
    moved = {name for name in before if before[name]["data"] != after[name]["data"]}
    assert moved == {"training.pdf", "training.png"} | {
        f"table_{name}.{form}" for name in ("cost", "updates") for form in ("md", "tex")
    }
    assert {name for name in before if before[name]["sha256"] != after[name]["sha256"]} == {
        "training.pdf",
        "training.png",
    }


def test_pdfs_hold_letters_and_no_date(made):
    for file in made.glob("*.pdf"):
        held = file.read_bytes()
        assert b"/FontFile2" in held
        assert b"/Type3" not in held
        assert b"CreationDate" not in held


def test_what_an_earlier_call_made_of_other_logs_is_removed_and_other_files_stay(folder, made, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(made, out)
    (out / "README.md").write_text("mine")
    make.make(logs.conform(), out)
    assert {file.name for file in out.iterdir()} == {"README.md", "manifest.json"}
    assert json.loads((out / "manifest.json").read_text())["files"] == {}


def test_drawing_leaves_matplotlibs_settings_as_they_were(tmp_path):
    with matplotlib.rc_context({"font.size": 31.0}):
        make.make(small_logs.small(budgets=(0.25,)), tmp_path)
        assert matplotlib.rcParams["font.size"] == 31.0


def test_without_any_logs_it_refuses_and_names_the_way_out(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(make, "RESULTS", tmp_path)
    assert make.main(["--out", str(tmp_path / "out")]) == 2
    assert "name a run, a sweep" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rows_that_several_logs_hold_are_there_once_and_rows_that_contradict_each_other_are_refused(folder):
    held = logs.read(folder)
    assert make.joined([held, held]) == make.joined([held])
    assert make.joined([held, held]).runs == held.runs
    other = replace(held, runs=logs.conform(runs=[row | {"mark": "killed"} for row in held.runs.to_pylist()]).runs)
    with pytest.raises(ValueError, match="key"):
        make.joined([held, other])


def test_a_run_that_two_logs_hold_is_there_once_as_its_newest_attempt_with_the_labels_of_whoever_knows_them():
    one = small_logs.small(noise=True, budgets=(0.25,))
    again = [{**row, "group": "another", "started": "2026-02-02"} for row in one.runs.to_pylist()]
    unlabelled = [{**row, "noise": None} for row in one.metrics.to_pylist()]
    other = replace(one, runs=logs.conform(runs=again).runs, metrics=logs.conform(metrics=unlabelled).metrics)
    for several in ([one, other], [other, one]):
        held = make.joined(several)
        assert set(held.runs["group"].to_pylist()) == {"another"}
        assert held.metrics == one.metrics
        assert held.results == one.results


@pytest.mark.parametrize(("started", "seconds"), [("2026-01-02", {7.0}), ("2025-12-31", {None})])
def test_all_that_is_told_of_a_run_that_was_trained_again_elsewhere_is_of_its_newest_attempt(started, seconds):
    one = small_logs.small(pairs=60, selectors=small_logs.SELECTORS[:2], budgets=(0.25,))
    first, second = (
        logs.conform(runs=[{**run, "started": when} for run in one.runs.to_pylist()]).runs
        for when in ("2026-01-01", started)
    )
    again = logs.conform(training=[{**row, "tokens_per_second": 7.0} for row in one.training.to_pylist()]).training
    told = make.joined([replace(one, runs=first), replace(one, runs=second, training=again)])
    assert told.training.num_rows == one.training.num_rows
    assert set(told.training["tokens_per_second"].to_pylist()) == seconds
    assert told.results == one.results
