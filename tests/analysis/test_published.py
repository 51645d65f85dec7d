"""What lies in paper_figs/ is what the committed logs give."""

import json
import re

import pytest
from small_logs import ROOT

from analysis import make

PUBLISHED = ROOT / "paper_figs"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("published")
    make.make(make.gathered([]), out)
    return out


def test_the_committed_logs_give_every_published_file_byte_for_byte(made):
    told = json.loads((PUBLISHED / "manifest.json").read_text())
    files = {file.name for file in PUBLISHED.iterdir()} - {"README.md", "manifest.json"}
    assert files == set(told["files"]) == {file.name for file in made.iterdir()} - {"manifest.json"}
    assert [name for name in sorted(files) if (made / name).read_bytes() != (PUBLISHED / name).read_bytes()] == []
    assert json.loads((made / "manifest.json").read_text())["files"] == told["files"]


def test_the_committed_logs_name_no_place_of_the_machine_that_made_them():
    held = make.gathered([])
    for name in ("runs", "results", "noise"):
        for row in getattr(held, name).to_pylist():
            assert not [value for value in row.values() if isinstance(value, str) and re.search(r'(^|[" =])/\w', value)]


@pytest.mark.parametrize("page", ["README.md", "experiments/README.md"])
def test_the_pictures_of_a_page_are_published(page):
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / page).read_text())
    assert all(((ROOT / page).parent / file).resolve().parent == PUBLISHED for file in shown)
    assert all(((ROOT / page).parent / file).is_file() for file in shown)


def test_the_readmes_table_says_what_the_published_one_says():
    """Its columns are `less random of that size`, for either kind of right answers."""
    page = (ROOT / "README.md").read_text().partition("## What came out")[2].partition("\n## ")[0]
    shown = [row for row in rows(page) if "[" in row[-1]]
    assert shown
    sections = (PUBLISHED / "table_differences.md").read_text().split("| *NLL of ")
    for column, title in ((1, "held-out answers"), (2, "HumanEval")):
        section = next(rows(text) for text in sections if text.startswith(title))
        published = {row[0]: row[5] for row in section if row[1:2] == ["25.0%"] and row[0] != "Random"}
        assert {row[0]: row[column] for row in shown} == published


@pytest.mark.parametrize(("page", "first", "last"), [("README.md", "## What came out", "## What can be chosen"),
                                               ("experiments/README.md", "## The study in small", "## How well")])  # fmt: skip
def test_every_difference_that_a_page_tells_is_a_published_one_in_one_direction_or_the_other(page, first, last):
    told = differences((ROOT / page).read_text().partition(first)[2].partition(last)[0])
    tables = ("table_differences.md", "table_spoiling.md", "table_updates.md")
    published = set.union(*(differences((PUBLISHED / table).read_text()) for table in tables))
    assert len(told) >= 20
    assert told - published - {(-value, -high, -low) for value, low, high in published} == set()


def differences(text):
    """(value, low, high) of all that is written with four decimals."""
    four = r"(−?\d\.\d{4})"
    found = re.findall(rf"{four} \[{four}, {four}\]", " ".join(text.split()))
    return {tuple(float(number.replace("−", "-")) for number in one) for one in found}


def rows(text):
    """The cells of each line of a Markdown table."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
