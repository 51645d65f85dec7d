"""Which fields of a record make the pair."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qaq.data.record import Unusable
from qaq.data.shapes import reader


def options(**changed):
    return {"query": None, "answer": None, "input": None, "turns": "first", **changed}


def pair(record, **changed):
    return reader(options(**changed))(record)[:2]


def reason(record, **changed):
    with pytest.raises(Unusable) as caught:
        pair(record, **changed)
    return str(caught.value)


def turns(*said, keys=("role", "content")):
    return [dict(zip(keys, turn, strict=True)) for turn in said]


FOUR_SHAPES = [
    {"conversations": turns(("human", "Q"), ("gpt", "A"), keys=("from", "value"))},
    {"messages": turns(("system", "S"), ("user", "Q"), ("assistant", "A"))},
    {"instruction": "Q", "output": "A"},
    {"instruction": "Q", "input": " ", "response": "A"},
    {"instruction": "Q", "input": None, "output": "A"},
    {"problem": "Q", "solution": "A"},
    {"query": "Q", "answer": "A"},
    {"prompt": "Q", "completion": "A"},
    {"question": "Q", "answer": "A"},
    {"prompt": "Q", "response": "A"},
]


@pytest.mark.parametrize("record", FOUR_SHAPES)
def test_each_shape_gives_its_query_and_its_answer(record):
    assert pair({"id": 7, **record, "extra": [1]}) == ("Q", "A")


def test_a_non_empty_input_follows_the_instruction_after_a_blank_line():
    assert pair({"instruction": "Add", "input": "1, 2", "output": "3"}) == ("Add\n\n1, 2", "3")


@given(st.permutations(["conversations", "instruction", "response"]))
def test_turns_come_before_flat_fields_in_whatever_order_the_fields_stand(order):
    record = {"conversations": turns(("human", "Q"), ("gpt", "A"), keys=("from", "value")),
              "instruction": "flat Q", "response": "flat A"}  # fmt: skip
    assert pair({key: record[key] for key in order}) == ("Q", "A")


def test_beside_a_solution_the_field_answer_is_only_its_last_line():
    assert pair({"problem": "1 + 1?", "answer": "2", "solution": "Count: 2"}) == ("1 + 1?", "Count: 2")


@pytest.mark.parametrize("absent", [None, []])
def test_a_null_or_empty_list_of_turns_counts_as_absent(absent):
    assert pair({"messages": absent, "instruction": "Q", "output": "A"}) == ("Q", "A")


def test_a_mapping_overrides_what_would_be_detected():
    record = {
        "instruction": "no",
        "output": "no",
        "messages": turns(("user", "no")),
        "ask": "Q",
        "more": "M",
        "say": "A",
    }
    assert pair(record, query="ask", answer="say") == ("Q", "A")
    assert pair(record, query="ask", answer="say", input="more") == ("Q\n\nM", "A")
    assert pair(record, query="ask") == ("Q", "no")


def test_a_mapped_query_may_hold_turns_of_any_name():
    assert pair({"dialogue": turns(("user", "Q"), ("assistant", "A"))}, query="dialogue") == ("Q", "A")


TALK = {"messages": turns(("system", "S"), ("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("user", "q2b"),
                          ("assistant", "a2"), ("user", "q3"))}  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("first", ("q1", "a1")),
        ("last", ("q2\n\nq2b", "a2")),  # the last question that was answered
        ("every", ("q1\n\nq2\n\nq2b\n\nq3", "a1\n\na2")),
    ],
)
def test_turns_choose_the_part_of_a_conversation(choice, expected):
    assert pair(TALK, turns=choice) == expected


def test_only_a_record_with_several_user_turns_is_multi_turn():
    assert reader(options())(TALK).multi_turn
    assert not any(reader(options())(record).multi_turn for record in FOUR_SHAPES)


def test_an_unknown_choice_of_turns_names_the_known_ones():
    with pytest.raises(ValueError, match="first, last, every"):
        reader(options(turns="all"))


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ([1], "wrong type: the record is a list"),
        (None, "wrong type: the record is null"),
        (True, "wrong type: the record is true or false"),
        ({}, "missing field: "),
        ({"instruction": "Q"}, "missing field: output"),
        ({"instruction": "Q", "output": None}, "missing field: output"),
        ({"output": "A"}, "missing field: instruction"),
        ({"problem": "Q"}, "missing field: solution"),
        ({"instruction": 3, "output": "A"}, "wrong type: instruction is a number"),
        ({"instruction": "Q", "output": ["A"]}, "wrong type: output is a list"),
        ({"instruction": "Q", "input": {}, "output": "A"}, "wrong type: input is an object"),
        ({"instruction": " \n", "output": "A"}, "empty query"),
        ({"instruction": "Q", "output": ""}, "empty answer"),
        ({"messages": "Q"}, "wrong type: messages is text"),
        ({"messages": ["Q"]}, "wrong type: turn 0"),
        ({"messages": turns(("user", "Q"))}, "missing field: messages has no assistant turn"),
        ({"messages": turns(("assistant", "A"))}, "missing field: messages has no user turn"),
        ({"messages": turns(("assistant", "A"), ("user", "Q"))}, "missing field: messages has no assistant turn after"),
        ({"messages": [{"role": "user"}]}, "missing field: content in turn 0"),
        ({"messages": turns(("user", 1))}, "wrong type: content in turn 0"),
        ({"messages": turns(("narrator", "Q"))}, "wrong type: role 'narrator'"),
        ({"messages": turns(("user", ""), ("assistant", "A"))}, "empty query"),
    ],
)
def test_a_record_without_a_pair_says_why(record, expected):
    assert reason(record).startswith(expected)


def test_a_mapped_field_that_is_absent_is_named():
    assert reason({"instruction": "Q", "output": "A"}, answer="reply").startswith("missing field: reply")


_names = ["instruction", "output", "messages", "role", "content", "from", "value", "problem"]
_json = st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5),
                     lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                         st.sampled_from(_names), inner, max_size=4))  # fmt: skip


@given(_json, st.sampled_from(["first", "last", "every"]))
def test_any_json_value_is_a_pair_of_non_empty_texts_or_refused_with_a_known_reason(value, choice):
    try:
        found, refusal = pair(value, turns=choice), None
    except Unusable as refused:
        found, refusal = (), str(refused).split(":")[0]
    assert refusal in {None, "missing field", "wrong type", "empty query", "empty answer"}
    assert all(isinstance(text, str) and text.strip() for text in found)


def test_a_system_turn_is_no_part_of_the_pair_and_is_counted(tmp_path):
    import json

    from qaq import data

    turns = [{"role": r, "content": c} for r, c in (("system", "Be brief."), ("user", "2+2?"), ("assistant", "4"))]
    (tmp_path / "f.jsonl").write_text(
        json.dumps({"messages": turns}) + "\n" + json.dumps({"messages": turns[1:]}) + "\n"
    )
    settings = {"name": "jsonl", "path": str(tmp_path / "f.jsonl"), "id": None, "revision": None, "subset": None,
                "split": None, "query": None, "answer": None, "input": None, "turns": "first", "limit": None, "seed": 0,
                "near_duplicates": None, "decontaminate": None, "held_out": 0.0, "noise": 0.0, "noise_kinds": ["cut"]}  # fmt: skip
    (tmp_path / "out").mkdir()
    counts = data.load(settings, tmp_path / "out")
    assert (counts["kept"], counts["quarantined"], counts["system_turn"]) == (1, 1, 1)  # the same pair: a duplicate
