"""The named tables: what conforms, what is refused, and that identity is content."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaq import tables


def test_missing_columns_become_null_and_the_order_is_the_schemas():
    table = tables.conform([{"priority": 0.5, "id": "a", "rank": 0}], tables.SUBSET)
    assert table.column_names == ["rank", "id", "priority", "stratum"]
    assert table["stratum"].to_pylist() == [None]


@pytest.mark.parametrize(("rows", "message"), [
    ([{"rank": 0, "id": "a", "prio": 1.0}], r"SUBSET has no column \['prio'\]"),
    ([{"rank": "x", "id": "a"}], "SUBSET.rank must be int64"),
    ([{"rank": 0, "id": "a"}, {"rank": 0, "id": "b"}], r"SUBSET: key \('rank',\) repeats"),
    ([{"rank": None, "id": "a"}], "holds a null"),
])  # fmt: skip
def test_a_table_that_does_not_conform_is_refused_by_name(rows, message):
    with pytest.raises(ValueError, match=message):
        tables.conform(rows, tables.SUBSET)


text = st.text(max_size=12)


@given(text, text, text, text)
def test_pairs_have_the_same_id_only_if_they_are_the_same(q1, a1, q2, a2):
    assert (tables.pair_id(q1, a1) == tables.pair_id(q2, a2)) == ((q1, a1) == (q2, a2))


def test_the_boundary_between_query_and_answer_counts():
    assert tables.pair_id("ab", "c") != tables.pair_id("a", "bc")


def test_jsonl_keeps_every_value(tmp_path):
    rows = [{"a": "ü\n", "b": None}, ["x"], 3]
    assert tables.write_jsonl(rows, tmp_path / "f") == 3
    assert list(tables.read_jsonl(tmp_path / "f")) == rows
