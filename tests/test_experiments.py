"""Every experiment says its claim, and its whole sweep is one that jobs can start with, at full size and at debug=tiny."""

import re

import pytest
from conftest import ROOT

from qaq import config, refuse

config.register()

FOLDER = ROOT / "experiments"
NAMES = sorted(file.stem for file in FOLDER.glob("*.yaml"))
FIGURES = {"rmi_distribution", "rmi_against_ppl", "rmi_against_ifd", "strong_against_weak", "overlap", "budget_curve",
           "noise", "training_curves"}  # fmt: skip
TABLES = {"main", "disagreement", "correlations", "cost"}
JOBS = {"main": 10, "disagreement": 8, "overlap": 7, "bins": 8, "correlation": 1, "model_pairs": 4, "data_sets": 16,
        "budget_curve": 24, "spans": 4, "noise": 4}  # fmt: skip
# A benchmark, and a data set or a model of the hub, are one instead of two where all are embedded.
TINY = {"main": 5, "disagreement": 4, "bins": 4, "model_pairs": 1, "data_sets": 8, "budget_curve": 12, "spans": 2}
NEEDS = {name: ["data.path=pairs.jsonl"] for name in NAMES if name != "data_sets"}


def head(name):
    """The opening comment as {label: text}."""
    lines = []
    for line in (FOLDER / f"{name}.yaml").read_text().splitlines()[1:]:
        if not line.startswith("#"):
            break
        lines.append(line[1:])
    parts = re.split(r"^ (Claim|Paper|Cost|Shown by): ", "\n".join(lines), flags=re.MULTILINE)
    return {label: " ".join(text.split()) for label, text in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.mark.parametrize("name", NAMES)
def test_the_first_lines_say_claim_number_cost_and_where_it_shows(name):
    said = head(name)
    assert list(said) == ["Claim", "Paper", "Cost", "Shown by"]
    assert "2603.12165" in said["Paper"] or "github.com/XXSg559/QAQ" in said["Paper"]
    assert re.search(r"\d", said["Paper"])
    assert "stages=[estimate]" in said["Cost"]
    shown = {kind: set(re.findall(r"\w+", names)) for kind, names in
             re.findall(r"(figure|table)s? ([\w, ]+)", said["Shown by"])}  # fmt: skip
    assert shown
    assert shown.get("figure", set()) <= FIGURES
    assert shown.get("table", set()) <= TABLES


def test_every_figure_of_the_paper_has_an_experiment():
    said = " ".join(head(name)["Shown by"] for name in NAMES)
    assert {word for word in FIGURES | TABLES if not re.search(rf"\b{word}\b", said)} == set()


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_the_sweep_is_one_a_job_can_start_with(name):
    assert refuse.check([f"experiments={name}", *NEEDS.get(name, [])], sweep=False) == JOBS[name]


@pytest.mark.parametrize("name", NAMES)
def test_tiny_is_the_same_sweep_and_needs_nothing_else(name):
    assert refuse.check([f"experiments={name}", "debug=tiny"], sweep=False) == TINY.get(name, JOBS[name])
