"""Data sets read through the datasets library, here from a local directory."""

import json

import pytest
from loading import load, settings

from qaq import data

PAIRS = [{"problem": f"p{i}", "solution": f"s{i}", "lang": "python"} for i in range(6)]


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "set"
    made.mkdir()
    (made / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in PAIRS))
    return made


def test_a_local_directory_gives_its_records_with_every_field(tmp_path, directory):
    counts, kept, _ = load(tmp_path / "out", name="hub", id=str(directory), split="train")
    assert [json.loads(row["record"]) for row in kept] == PAIRS
    assert counts["shape"] == {"problem/solution": 6}


def test_the_limit_takes_the_first_records(tmp_path, directory):
    counts, kept, _ = load(tmp_path / "out", name="hub", id=str(directory), split="train", limit=2)
    assert (counts["rows"], [row["query"] for row in kept]) == (2, ["p0", "p1"])


def test_a_split_that_is_not_there_names_the_set_and_the_split(tmp_path, directory):
    with pytest.raises(ValueError, match=r"cannot read data.id=.*set.*split test"):
        load(tmp_path / "out", name="hub", id=str(directory), split="test")


@pytest.mark.parametrize("revision", [None, "main", "abc123"])
def test_a_hub_set_that_is_not_pinned_to_a_commit_is_refused(tmp_path, revision):
    unpinned = settings(name="hub", id="owner/name", split="train", revision=revision)
    for refused in (lambda: data.identity(unpinned), lambda: data.load(unpinned, tmp_path)):
        with pytest.raises(ValueError, match="pin one"):
            refused()


def test_a_set_without_a_split_is_refused(directory):
    with pytest.raises(ValueError, match=r"set data\.split"):
        data.identity(settings(name="hub", id=str(directory)))


def test_a_hub_that_cannot_be_reached_names_the_set_and_the_way_out(tmp_path, monkeypatch):
    def unreachable(*given, **named):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(ValueError, match=r"owner/name at revision 0{40}(.|\n)*no route(.|\n)*data.id=DIR"):
        load(tmp_path / "out", name="hub", id="owner/name", split="train", revision="0" * 40)
