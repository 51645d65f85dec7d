"""The subset folder: the source's own records in rank order, and a form trainers take as it is."""

import json

import pytest
from datasets import load_dataset

from qaq import export, tables


def folder(tmp_path):
    rows = [{"id": f"p{i}", "row": i, "query": f"q{i}", "answer": f"a{i}", "source": "s",
             "record": json.dumps({"instruction": f"q{i}", "output": f"a{i}", "extra": {"stars": i}})}
            for i in range(5)]  # fmt: skip
    tables.write(tables.conform(rows, tables.EXAMPLES), tmp_path / "examples.parquet")
    subset = tables.conform({"rank": [0, 1, 2], "id": ["p4", "p0", "p2"]}, tables.SUBSET)
    export.export(tmp_path / "examples.parquet", subset, {"selector": "rmi"}, tmp_path / "subset")
    return tmp_path / "subset"


def test_records_come_back_whole_and_in_rank_order(tmp_path):
    rows = list(tables.read_jsonl(folder(tmp_path) / "selected.jsonl"))
    assert [row["extra"]["stars"] for row in rows] == [4, 0, 2]
    assert rows[0] == {"instruction": "q4", "output": "a4", "extra": {"stars": 4}}


def test_datasets_opens_both_forms(tmp_path):
    where = str(folder(tmp_path))
    messages = load_dataset(where, split="train", cache_dir=str(tmp_path / "cache"))
    assert messages[0]["messages"] == [{"role": "user", "content": "q4"}, {"role": "assistant", "content": "a4"}]
    original = load_dataset(where, "selected", split="train", cache_dir=str(tmp_path / "cache"))
    assert original["instruction"] == ["q4", "q0", "q2"]


def test_the_card_and_the_llama_factory_entry_are_there(tmp_path):
    where = folder(tmp_path)
    assert "| selector | rmi |" in (where / "README.md").read_text()
    entry = json.loads((where / "dataset_info.json").read_text())["selected"]
    assert (where / entry["file_name"]).is_file()


def test_gathering_keeps_the_order_asked_for(tmp_path):
    folder(tmp_path)
    rows = export.gather(tmp_path / "examples.parquet", ["p3", "p1"], ["id", "query"], tmp_path)
    assert list(rows) == [{"id": "p3", "query": "q3"}, {"id": "p1", "query": "q1"}]


def test_a_row_that_is_not_there_is_named(tmp_path):
    folder(tmp_path)
    with pytest.raises(KeyError, match="examples.parquet has no row p9"):
        list(export.gather(tmp_path / "examples.parquet", ["p3", "p9"], ["id", "query"], tmp_path))
