"""Rows: a row reads as the conversation, learns answer and tail, and every row that is too long is accounted for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaq import chat, models
from qaq.train.rows import Row, counts, encode, fit_length

PAIRS = [{"id": "a", "query": "add two numbers", "answer": "def add(a, b):\n    return a + b"},
         {"id": "b", "query": "  name?\n", "answer": "x"}]  # fmt: skip
ROWS = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=20).map(
    lambda sizes: [Row(str(n), list(range(p + c)), p) for n, (p, c) in enumerate(sizes)]
)


@pytest.mark.parametrize("system", [None, "Be brief."])
def test_a_row_reads_as_the_conversation_and_learns_answer_and_tail(tiny_model, system):
    tokenizer = models.tokenizer(tiny_model)
    frame = chat.frame(tokenizer, system)
    for pair, row in zip(PAIRS, encode(tokenizer, PAIRS, system), strict=True):
        assert tokenizer.decode(row.ids[: row.prompt]) == frame.prompt(pair["query"])
        assert tokenizer.decode(row.ids[row.prompt :]) == pair["answer"] + frame.tail


@given(ROWS, st.integers(2, 60), st.sampled_from(["drop", "truncate"]))
def test_every_row_is_kept_whole_or_listed_with_its_full_length(rows, limit, too_long):
    length = {row.id: len(row.ids) for row in rows}
    if all(size > limit and (too_long == "drop" or row.prompt >= limit)
           for row, size in zip(rows, length.values(), strict=True)):  # fmt: skip
        with pytest.raises(ValueError, match=rf"max_length.* {min(length.values())} tokens"):
            fit_length(rows, limit, too_long)
        return
    kept, listed = fit_length(rows, limit, too_long)
    cut = {line["id"] for line in listed if line["what"] == "truncated"}
    dropped = {line["id"] for line in listed if line["what"] == "dropped"}
    assert all(line["tokens"] == length[line["id"]] > limit for line in listed)
    assert {row.id for row in kept} | dropped == set(length)
    assert not {row.id for row in kept} & dropped
    for row in kept:
        assert len(row.ids) == (limit if row.id in cut else length[row.id]) > row.prompt
    if too_long == "drop":
        assert not cut
    found = counts(kept, listed)
    assert found["rows"] == found["trained"] + found["dropped"] == len(rows)


def test_a_row_whose_answer_would_be_cut_away_is_dropped_even_when_truncating():
    rows = [Row("long prompt", list(range(12)), 10), Row("long answer", list(range(12)), 9), Row("fits", [1, 2], 1)]
    kept, listed = fit_length(rows, 10, "truncate")
    assert [(row.id, len(row.ids)) for row in kept] == [("long answer", 10), ("fits", 2)]
    assert listed == [{"id": "long prompt", "tokens": 12, "what": "dropped"},
                      {"id": "long answer", "tokens": 12, "what": "truncated"}]  # fmt: skip


def test_no_row_at_all_is_refused():
    with pytest.raises(ValueError, match="subset is empty"):
        fit_length([], 10, "drop")
