"""The study in small: what each of its experiments says before it runs, and that its whole sweep is one that jobs can start with."""

import re

import pytest
from test_experiments import FIGURES, FOLDER, NAMES, TABLES, jobs

from qaq import refuse

STUDY = sorted(file.stem for file in (FOLDER / "study").glob("*.yaml") if file.stem != "small")
JOBS = {"selection": 24, "bins": 12, "budgets": 18, "noise": 7, "noise_stdlib": 4, "noisy_training": 15, "passing": 3,
        "precision": 2, "spans": 6, "stability": 2, "updates": 6, "weak": 4}  # fmt: skip
LABELS = ["Question", "Hypothesis", "Paper", "Metric and test", "Runs", "Cost", "Shown by"]


def head(name):
    lines = [line[1:] for line in (FOLDER / "study" / f"{name}.yaml").read_text().splitlines() if line.startswith("#")][
        1:
    ]
    parts = re.split(rf"^ ({'|'.join(LABELS)}): ", "\n".join(lines), flags=re.MULTILINE)
    return {label: " ".join(text.split()) for label, text in zip(parts[1::2], parts[2::2], strict=True)}


def path(name):
    return [] if name == "noise_stdlib" else ["data.path=pairs.jsonl"]


@pytest.mark.parametrize("name", STUDY)
def test_question_hypothesis_metric_seeds_and_test_are_decided_in_its_head(name):
    said = head(name)
    assert list(said) == LABELS
    assert all(said.values())
    assert re.search("2603.12165|github.com/XXSg559/QAQ", said["Paper"])
    assert re.search(r"interval|as in study/", said["Metric and test"])
    assert "stages=[estimate]" in said["Cost"]
    shown = dict(re.findall(r"(figure|table)s? ([\w, ]+)", said["Shown by"]))
    assert set(re.findall(r"\w+", shown.get("figure", ""))) <= FIGURES
    assert set(re.findall(r"\w+", shown.get("table", ""))) <= TABLES


@pytest.mark.parametrize("name", STUDY)
def test_every_job_of_the_sweep_can_start(name):
    assert refuse.check([f"experiments=study/{name}", *path(name)], sweep=False) == JOBS[name]


@pytest.mark.parametrize("name", STUDY)
def test_a_job_is_one_model_on_pairs_that_nobody_trains_on(name):
    for job in jobs(f"experiments=study/{name}", *path(name)):
        assert list(job.train.seeds) == [job.seed]
        assert job.train.epochs == 1
        assert job.data.held_out == (0.0 if name == "noise_stdlib" else 0.1)
        assert job.target.name.startswith("SmolLM2-135M")
        assert job.evaluate.samples == (1 if name == "passing" else 0)


def test_every_table_and_figure_is_of_an_experiment_of_the_paper_or_of_the_study():
    files = [FOLDER / f"{name}.yaml" for name in NAMES] + [FOLDER / "study" / f"{name}.yaml" for name in STUDY]
    shown = " ".join(re.search(r"^# Shown by: (.*)$", file.read_text(), re.MULTILINE)[1] for file in files)
    assert {word for word in FIGURES | TABLES if not re.search(rf"\b{word}\b", shown)} == set()
