"""Every experiment says its claim, and its whole sweep is one that jobs can start with, at full size and at debug=tiny."""

import re

import pytest
from conftest import ROOT

from qaq import config, refuse

config.register()

FOLDER = ROOT / "experiments"
NAMES = sorted(file.stem for file in FOLDER.glob("*.yaml"))
FIGURES, TABLES = (
    {file.stem for file in (ROOT / "analysis" / kind).glob("[!_]*.py")} for kind in ("figures", "tables")
)
JOBS = {"main": 14, "disagreement": 8, "overlap": 7, "bins": 8, "correlation": 1, "model_pairs": 4, "data_sets": 16,
        "budget_curve": 24, "spans": 4, "noise": 4, "stability": 2, "xcoder": 16}  # fmt: skip
# A benchmark, and a data set or a model of the hub, are one instead of two where all are embedded.
TINY = {"main": 5, "disagreement": 4, "bins": 4, "model_pairs": 1, "data_sets": 8, "budget_curve": 12, "spans": 2,
        "xcoder": 8}  # fmt: skip
NEEDS = {name: ["data.path=pairs.jsonl"] for name in NAMES if name != "data_sets"}
NEEDS["main"] += ["signals.rds.queries.path=items.jsonl"]
NEEDS["xcoder"] += [f"signals.unit_tests.model.revision={'0' * 40}"]


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
    assert any(source in said["Paper"] for source in ("2603.12165", "2409.03810", "github.com/XXSg559/QAQ"))
    assert re.search(r"\d", said["Paper"])
    assert "stages=[estimate]" in said["Cost"]
    shown = {kind: set(re.findall(r"\w+", names)) for kind, names in
             re.findall(r"(figure|table)s? ([\w, ]+)", said["Shown by"])}  # fmt: skip
    assert shown
    assert shown.get("figure", set()) <= FIGURES
    assert shown.get("table", set()) <= TABLES


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_the_sweep_is_one_a_job_can_start_with(name):
    assert refuse.check([f"experiments={name}", *NEEDS.get(name, [])], sweep=False) == JOBS[name]


@pytest.mark.parametrize("name", NAMES)
def test_tiny_is_the_same_sweep_and_needs_nothing_else(name):
    assert refuse.check([f"experiments={name}", "debug=tiny"], sweep=False) == TINY.get(name, JOBS[name])


def test_every_file_of_what_tiny_replaces_belongs_to_an_experiment():
    files = [file.stem for file in (FOLDER / "debug").glob("*.yaml")]
    assert files
    assert {file.removeprefix("tiny_") for file in files} <= set(NAMES)


def jobs(*overrides):
    """The settings of every job that the door would start, as Hydra itself makes them."""
    from hydra import compose, initialize_config_dir

    asked, own = refuse._parsed(list(overrides)), refuse._own_sweep(refuse._parsed(list(overrides)))
    rows = refuse.BasicSweeper.split_arguments([*own[1], *asked], None)[0]
    with initialize_config_dir(str(refuse.CONF), version_base="1.3"):
        return [compose("config", row) for row in rows]


def test_the_main_table_has_the_paper_s_rows():
    rows = jobs("experiments=main", "data.path=x", "evaluate=humaneval")
    assert [(row.selector.name, row.budget) for row in rows] == [
        ("full", 1.0), ("stratified", 0.5), ("stratified", 0.25), ("random", 0.25), ("ifd", 0.25), ("rds", 0.25),
        ("scar", 0.25)]  # fmt: skip
    assert {(row.scorer.name, row.train.name, row.target.name) for row in rows} == {
        ("paper", "paper", "deepseek-coder-6.7b-base")}  # fmt: skip


def test_xcoder_s_rows_add_a_step_each_at_both_of_its_budgets():
    rows = jobs("experiments=xcoder", "data.path=x", "evaluate=humaneval")
    steps = [(row.selector.name, row.selector.get("quality"), row.selector.get("diversity")) for row in rows[::2]]
    assert steps == [("random", None, None), ("xcoder", False, None), ("xcoder", True, None), ("xcoder", True, 0.945)]
    assert [row.budget for row in rows] == [40000, 80000] * 4


@pytest.mark.parametrize("name", NAMES)
def test_tiny_asks_for_embedded_models_and_data_only(name):
    for row in jobs(f"experiments={name}", "debug=tiny"):
        assert (row.data.name, row.evaluate.benchmark, row.train.name) == ("stdlib", "humaneval", "smoke")
        assert row.data.limit == 40
        assert row.target.packages
        assert row.scorer.name in ("embedded", "embedded_pair", "tuned")
        assert row.signals.name == "embedded"


def test_the_command_line_wins_over_the_experiment_and_over_tiny():
    rows = jobs(
        "experiments=main", "debug=tiny", "row=ifd_25,random_25", "budget=0.5", "evaluate.limit=3", "data.limit=7"
    )
    assert [row.selector.name for row in rows] == ["ifd", "random"]
    assert {(row.budget, row.evaluate.limit, row.data.limit, row.data.name) for row in rows} == {(0.5, 3, 7, "stdlib")}
    (row,) = jobs("experiments=correlation", "debug=tiny", "data=jsonl", "data.path=mine.jsonl")
    assert (row.data.name, row.data.path, row.data.limit) == ("jsonl", "mine.jsonl", 40)


def test_a_model_that_an_earlier_job_makes_is_accepted_in_a_sweep_only():
    with pytest.raises(ValueError, match="0/checkpoint' is not a directory"):
        refuse.check(["scorer=tuned"], sweep=False)
    with pytest.raises(ValueError, match="'elsewhere' is not a directory"):
        refuse.check(
            ["experiments=stability", "debug=tiny", "scorer=local", "scorer.model.path=elsewhere"], sweep=False
        )
