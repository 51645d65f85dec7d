"""From a record to the pair (query, answer): which fields hold it.

Looked for in this order, per record, because one record may fit several (Magpie has instruction, response and
conversations; OpenR1-Math has problem, solution, answer and messages):

1. `conversations`, then `messages`: a list of turns, {from, value} or {role, content}. First, because turns hold the
   whole exchange while the flat fields beside them repeat its first turn at most: so `data.turns` keeps its meaning.
2. instruction (+ input) with output or response.
3. problem, query, prompt or question with solution, answer or completion: solution before answer, since beside a
   solution the answer is only its last line.
4. any query name of 2 and 3 with any answer name of 2 and 3 (prompt with response).

`data.query`, `data.answer` and `data.input` name the fields instead; a field that holds turns can be named as
`data.query` alone. A field that is null, or an empty list of turns, counts as absent: typed files fill columns so.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from qaq.data.record import Unusable

_TURNS = ("conversations", "messages")
_INSTRUCTION, _OUTPUT = ("instruction",), ("output", "response")
_PROBLEM, _SOLUTION = ("problem", "query", "prompt", "question"), ("solution", "answer", "completion")
_SIDES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "chatbot"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
_BLANK_LINE = "\n\n"


class Pair(NamedTuple):
    """A query, its answer, the fields they came from, whether the record has more than one user turn, and whether it
    has a system turn (which is no part of the pair)."""

    query: str
    answer: str
    shape: str
    multi_turn: bool = False
    system_turn: bool = False


def reader(settings: dict[str, Any]) -> Callable[[Any], Pair]:
    """The function from a record's value to its pair under `settings`; it raises Unusable with the reason."""
    turns = settings["turns"]
    if turns not in _PICKED:
        raise ValueError(f"unknown data.turns {turns!r}; known: {', '.join(_PICKED)}")
    mapping = {side: settings[side] for side in ("query", "answer", "input")}

    def read(value: Any) -> Pair:
        if not isinstance(value, dict):
            raise Unusable(f"wrong type: the record is {_kind(value)}, an object is needed")
        name = _turns_field(value, mapping)
        pair = _from_turns(name, value[name], turns) if name else _from_fields(value, mapping)
        if not pair.query.strip():
            raise Unusable(f"empty query: {pair.shape}")
        if not pair.answer.strip():
            raise Unusable(f"empty answer: {pair.shape}")
        return pair

    return read


def user_turns(settings: dict[str, Any], value: Any, query: str) -> list[str]:
    """What the user said, turn by turn, in a record whose pair has this `query`; the query itself where it was not made of turns."""
    name = _turns_field(value, {side: settings[side] for side in ("query", "answer", "input")})
    said = [_turn(name, place, turn) for place, turn in enumerate(value[name])] if name else []
    turns = [text for side, text in said if side == "user"]
    return turns if _BLANK_LINE.join(turns) == query else [query]


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, (int, float)) else type(value).__name__)


def _turns_field(record: dict[str, Any], mapping: dict[str, str | None]) -> str | None:
    if mapping["answer"]:
        return None
    names = (mapping["query"],) if mapping["query"] else _TURNS
    for name in names:
        value = record.get(name)
        if value is None or value == [] or (mapping["query"] and not isinstance(value, list)):
            continue
        return name
    return None


def _from_fields(record: dict[str, Any], mapping: dict[str, str | None]) -> Pair:
    query_name, answer_name = _names(record, mapping)
    query = _text(record, query_name)
    input_name = mapping["input"] or ("input" if query_name == "instruction" else None)
    if input_name and record.get(input_name) is not None:
        extra = _text(record, input_name)
        query = query + _BLANK_LINE + extra if extra.strip() else query
    return Pair(query, _text(record, answer_name), f"{query_name}/{answer_name}")


def _names(record: dict[str, Any], mapping: dict[str, str | None]) -> tuple[str, str]:
    """The field of the query and the field of the answer."""
    queries, answers = _INSTRUCTION + _PROBLEM, _OUTPUT + _SOLUTION
    if mapping["query"] or mapping["answer"]:
        queries = (mapping["query"],) if mapping["query"] else queries
        answers = (mapping["answer"],) if mapping["answer"] else answers
        return _present(record, queries, answers) or _missing(record, queries, answers)
    for names in ((_INSTRUCTION, _OUTPUT), (_PROBLEM, _SOLUTION), (queries, answers)):
        if found := _present(record, *names):
            return found
    return _missing(record, queries, answers)


def _present(record: dict[str, Any], queries: tuple[str, ...], answers: tuple[str, ...]) -> tuple[str, str] | None:
    query = next((name for name in queries if record.get(name) is not None), None)
    answer = next((name for name in answers if record.get(name) is not None), None)
    return (query, answer) if query and answer else None


def _missing(record: dict[str, Any], queries: tuple[str, ...], answers: tuple[str, ...]) -> tuple[str, str]:
    query = next((name for name in queries if record.get(name) is not None), None)
    answer = next((name for name in answers if record.get(name) is not None), None)
    if query and len(answers) > 1:
        answers = _OUTPUT if query == "instruction" else _SOLUTION
    if answer and len(queries) > 1:
        queries = _INSTRUCTION if answer in _OUTPUT else _PROBLEM
    wanted = [_any_of(names, side) for names, side, found in ((queries, "query", query), (answers, "answer", answer))
              if not found]  # fmt: skip
    raise Unusable(f"missing field: {' and '.join(wanted)}; the record has {', '.join(map(str, record)) or 'no field'}")


def _any_of(names: tuple[str, ...], side: str) -> str:
    return " or ".join(names) if len(names) < len(_INSTRUCTION + _PROBLEM) else f"any {side}"


def _text(record: dict[str, Any], name: str) -> str:
    value = record[name]
    if not isinstance(value, str):
        raise Unusable(f"wrong type: {name} is {_kind(value)}, text is needed")
    return value


def _from_turns(name: str, turns: Any, picked: str) -> Pair:
    if not isinstance(turns, list):
        raise Unusable(f"wrong type: {name} is {_kind(turns)}, a list of turns is needed")
    said = [_turn(name, position, turn) for position, turn in enumerate(turns)]
    sides = [side for side, _ in said]
    for side in ("user", "assistant"):
        if side not in sides:
            raise Unusable(f"missing field: {name} has no {side} turn")
    query, answer = _PICKED[picked](name, [(side, text) for side, text in said if side != "system"])
    keys = "from/value" if "from" in turns[0] else "role/content"
    return Pair(query, answer, f"{name} ({keys})", sides.count("user") > 1, "system" in sides)


def _turn(name: str, position: int, turn: Any) -> tuple[str, str]:
    """(side, text) of one turn."""
    if not isinstance(turn, dict):
        raise Unusable(f"wrong type: turn {position} of {name} is {_kind(turn)}, an object is needed")
    role_key, text_key = ("from", "value") if "from" in turn else ("role", "content")
    for key in (role_key, text_key):
        if turn.get(key) is None:
            raise Unusable(f"missing field: {key} in turn {position} of {name}")
        if not isinstance(turn[key], str):
            raise Unusable(f"wrong type: {key} in turn {position} of {name} is {_kind(turn[key])}, text is needed")
    role = turn[role_key].strip().lower()
    if role not in _SIDES:
        raise Unusable(f"wrong type: {role_key} {role!r} in turn {position} of {name}; known: {', '.join(_SIDES)}")
    return _SIDES[role], turn[text_key]


def _exchanges(name: str, said: list[tuple[str, str]]) -> list[tuple[list[str], list[str]]]:
    """What was asked and answered, in order; turns of one side in a row belong together."""
    made: list[tuple[list[str], list[str]]] = []
    before = "assistant"  # an opening assistant turn answers nothing
    for side, text in said:
        if side == "user" and before == "assistant":
            made.append(([], []))
        if made:
            made[-1][side == "assistant"].append(text)
        before = side
    answered = [exchange for exchange in made if exchange[1]]
    if not answered:
        raise Unusable(f"missing field: {name} has no assistant turn after a user turn")
    return answered


def _first(name: str, said: list[tuple[str, str]]) -> tuple[str, str]:
    asked, answered = _exchanges(name, said)[0]
    return _BLANK_LINE.join(asked), _BLANK_LINE.join(answered)


def _last(name: str, said: list[tuple[str, str]]) -> tuple[str, str]:
    asked, answered = _exchanges(name, said)[-1]
    return _BLANK_LINE.join(asked), _BLANK_LINE.join(answered)


def _every(name: str, said: list[tuple[str, str]]) -> tuple[str, str]:
    asked, answered = ([text for side, text in said if side == wanted] for wanted in ("user", "assistant"))
    return _BLANK_LINE.join(asked), _BLANK_LINE.join(answered)


_PICKED = {"first": _first, "last": _last, "every": _every}
