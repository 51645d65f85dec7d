"""One record of a source: its JSON value, its text on one line, and why it cannot be used, if so.

JSON is taken strictly (RFC 8259): NaN, Infinity, numbers Python cannot hold and nesting deeper than its stack are "not
JSON". Text that no UTF-8 file can hold (an escaped half of a surrogate pair) is "not UTF-8".
"""

import base64
import json
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Record(NamedTuple):
    """`text` is the record as JSON on one line, or what was found instead where `reason` says why it is refused."""

    value: Any
    text: str
    reason: str | None = None


class Source(NamedTuple):
    """Records in order; `done()` of `total` `unit`s are read so far (`total` 0: nobody knows how many there are)."""

    records: Iterator[Record]
    total: int = 0
    unit: str = "records"
    done: Callable[[], int] = lambda: 0


class Unusable(ValueError):
    """A record that makes no pair; the message is the reason that goes to quarantine."""


def _no_constant(literal: str) -> None:
    raise Unusable(f"not JSON: {literal} is not a JSON value")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise Unusable(f"not JSON: the number {digits[:40]} is too large")
    return number


DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)


def not_json(error: Exception) -> str:
    """The reason for what the decoder raised."""
    if isinstance(error, Unusable):
        return str(error)
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg}, character {error.pos}"
    if isinstance(error, RecursionError):
        return "not JSON: nested too deep"
    return "not JSON: a whole number of too many digits"


def parse(text: str) -> Record:
    """The record that `text`, one line of UTF-8, stands for."""
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        return Record(None, text, not_json(error))
    return checked(value, text)


def checked(value: Any, text: str) -> Record:
    """The record of a decoded value, refused if it holds half a surrogate pair."""
    if ("\\ud" in text or "\\uD" in text) and not _encodable(value):
        return Record(value, text, "not UTF-8: an escape stands for half a surrogate pair")
    return Record(value, text)


def _encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def of_value(value: Any) -> Record:
    """The record of a Python value from a typed file, where dates, bytes and NaN have no JSON form of their own."""
    try:
        return Record(value, json.dumps(value, ensure_ascii=False, allow_nan=False, default=_as_json))
    except ValueError:
        return Record(value, json.dumps(_null_for_nan(value), ensure_ascii=False, default=_as_json))


def _as_json(value: Any) -> str:
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    return str(value)


def _null_for_nan(value: Any) -> Any:
    """Typed tables write NaN where a number is missing; JSON writes null."""
    if isinstance(value, dict):
        return {key: _null_for_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_null_for_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def escaped(text: str) -> str:
    """`text` decoded with surrogateescape, its invalid bytes written as \\xNN."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
