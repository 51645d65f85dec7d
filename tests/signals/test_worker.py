"""The worker of the signals: every pair once, its texts as the signal knows them, whatever pieces the file has."""

import types

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qaq import signals
from qaq.shards import Shards
from qaq.signals.__main__ import _pairs, _taken, observe

SCHEMA = pa.schema([("id", pa.string()), ("said", pa.string())])


@pytest.fixture
def told(monkeypatch):
    """What a signal, which answers with all it is given, was asked."""
    tables = []

    def load(request):
        def made(pairs):
            tables.append(pairs)
            return pa.table([pairs["id"], [f"{row}" for row in pairs.drop(["id"]).to_pylist()]], schema=SCHEMA)

        return made

    signal = types.SimpleNamespace(SCHEMA=SCHEMA, WHAT="words", load=load)
    monkeypatch.setattr(signals, "module", lambda name: signal)
    return tables


def pairs(file, turns: bool = False):
    rows = [
        {"id": f"{i:02}", "query": f"q{i} é\0", "answer": "a" * (37 * i % 11), "queries": [f"q{i}", "é\0"]}
        for i in range(30)
    ]
    table = pa.Table.from_pylist(rows).select(["id", "query", "answer", *(["queries"] if turns else [])])
    pq.write_table(table, file, row_group_size=7)
    return rows


@pytest.mark.parametrize("turns", [False, True])
@pytest.mark.parametrize("settings", [{}, {"batch_size": 2}])
def test_every_pair_is_asked_once_with_its_own_texts(tmp_path, told, turns, settings):
    rows = pairs(tmp_path / "pairs.parquet", turns)
    request = {"signal": "said", "settings": settings, "pairs": str(tmp_path / "pairs.parquet"), "shards": str(tmp_path / "shards"),
               "characters_per_shard": 40}  # fmt: skip
    observe(request)
    held = {row["id"]: row["said"] for row in Shards(tmp_path / "shards", SCHEMA, "words").read().to_pylist()}
    assert held == {row["id"]: str({"query": row["query"], "answer": row["answer"],
                                    "queries": row["queries"] if turns else [row["query"]]}) for row in rows}  # fmt: skip
    assert len(told) > 3
    assert sum(table.num_rows for table in told) == len(rows)
    asked = len(told)
    observe(request)
    assert len(told) == asked


def test_texts_lie_in_one_piece_whose_offsets_do_not_overflow(tmp_path):
    rows = pairs(tmp_path / "pairs.parquet", turns=True)
    table = _pairs(tmp_path / "pairs.parquet")
    assert {column.num_chunks for column in table.columns} == {1}
    assert table.schema.field("answer").type == pa.large_string()
    assert _taken(table, [3, 1]).to_pylist() == [rows[3], rows[1]]
