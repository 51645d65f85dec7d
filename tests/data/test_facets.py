"""FACETS of a file of pairs: where each comes from, how long it is, and what it is about."""

import json

import pytest
import yaml
from conftest import ROOT

from qaq.data import facets
from qaq.tables import EXAMPLES, conform, write

RULES = yaml.safe_load((ROOT / "conf/composition/defaults.yaml").read_text())


def made(tmp_path, records, **settings):
    """FACETS of `records`, whose query is "Sort a list" and whose answer is code."""
    rows = [{"id": f"{k}", "row": k, "query": "Sort a list", "answer": "def f(x):\n    return sorted(x)", "source": "mine",
             "record": json.dumps(record)} for k, record in enumerate(records)]  # fmt: skip
    write(conform(rows, EXAMPLES), tmp_path / "examples.parquet")
    return facets.facets(tmp_path / "examples.parquet", {**RULES, **settings})


def test_lengths_language_and_topic_are_those_of_the_pair(tmp_path):
    (row,) = made(tmp_path, [{}]).to_pylist()
    assert row == {
        "id": "0",
        "source": "mine",
        "query_words": 3,
        "answer_words": 4,
        "language": "Python",
        "topic": "lists, sorting",
    }


def test_a_source_is_told_by_the_first_usual_field_that_holds_text_else_by_the_data_set(tmp_path):
    records = [{"source": "evol "}, {"dataset": "oss", "source": ""}, {"source": 7}, {"text": 'the "source" of it'}, {}]
    assert made(tmp_path, records)["source"].to_pylist() == ["evol", "oss", "mine", "mine", "mine"]


def test_a_field_that_is_named_counts_alone_and_must_be_there(tmp_path):
    assert made(tmp_path, [{"kind": "a", "source": "b"}, {"source": "b"}], source="kind")["source"].to_pylist() == [
        "a",
        None,
    ]
    assert made(tmp_path, [{"quellé": "a"}], source="quellé")["source"].to_pylist() == ["a"]
    with pytest.raises(ValueError, match="composition.source=kin: no record of 1 has that field as text"):
        made(tmp_path, [{"kind": "a"}], source="kin")


def test_rare_sources_beyond_the_limit_are_one(tmp_path):
    records = [{"source": name} for name in "aabbcd"]
    assert made(tmp_path, records, values=2)["source"].to_pylist() == [*"aabb", facets.REST, facets.REST]
    assert made(tmp_path, records, values=4)["source"].to_pylist() == list("aabbcd")
