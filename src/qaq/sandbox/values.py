"""Python values as bytes and back, without running anything: what a solution returned, on its way to its judge.

MessagePack (a C library made for data of strangers); what it lacks is a map of one pair, whose key is an extension that
names the type. The side that runs a model's code only encodes; a subclass is reduced to its plain base by the base's own
methods, so that nothing the model wrote decides what is compared. Equal bytes are equal values, but not the other way
round (1 and 1.0, dictionaries in another order).
"""

import io
import sys
from collections.abc import Iterator

from msgpack import ExtType, Unpacker, packb, unpackb

_INT, _TUPLE, _SET, _FROZENSET, _COMPLEX, _NUMPY, _FRACTION, _DECIMAL, _OTHER = range(9)
_NUMBERS = "biufcUS"  # kinds of numpy elements that are plain data
_KEYS, _ITEMS = type({}.keys()), type({}.items())
# What makes a plain value of a subclass's: methods of the base, called on it directly.
_BASES = {
    int: int.__pos__,
    float: float.__pos__,
    complex: complex.__pos__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    list: list.copy,
    tuple: lambda value: tuple.__getitem__(value, slice(None)),
    dict: lambda value: dict([*dict.items(value)]),
    set: lambda value: {*set.__iter__(value)},
    frozenset: lambda value: frozenset([*frozenset.__iter__(value)]),
}

_EXTENDED = (int, complex, tuple, set, frozenset)  # what MessagePack lacks, if only for large numbers


class Other:
    """A value of a type that is not compared: equal to nothing, itself included."""

    __hash__ = None

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return False

    def __repr__(self) -> str:
        return f"<{self.name}>"


def encode(value: object) -> bytes:
    """Raises ValueError for what is nested too deeply, or in itself."""
    return packb(value, default=_extended, strict_types=True, unicode_errors="surrogatepass", buf_size=256)


def name_of(value: object) -> str:
    """The name of a value's type: two values' types are compared by it."""
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def decode(data: bytes) -> object:
    """The value; what was of a subclass comes back plain. Raises ValueError or TypeError for what `encode` never made."""
    return unpackb(data, **_HOOKS)


def items(data: bytes) -> tuple[int, Iterator[object]] | None:
    """Length and elements of a list, one at a time; None for any other value. Decoded whole, a list of short texts takes ten
    times its bytes (Mbpp/255: 0.7 GB)."""
    if not (0x90 <= data[0] <= 0x9F or data[0] in (0xDC, 0xDD)):  # the three headers of an array
        return None
    stream = Unpacker(io.BytesIO(data), max_buffer_size=len(data), **_HOOKS)
    count = stream.read_array_header()
    return count, (stream.unpack() for _ in range(count))


def _named(code: int, contents: object) -> dict:
    return {ExtType(code, b""): contents}


def _extended(value: object) -> object:
    """What MessagePack itself cannot hold."""
    kind = type(value)
    if kind is tuple:
        return _named(_TUPLE, [*value])
    if kind is int:
        return ExtType(_INT, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))
    if kind is set or kind is _KEYS or kind is _ITEMS:  # views of a dictionary equal the set of their elements
        return _named(_SET, [*value])
    if kind is frozenset:
        return _named(_FROZENSET, [*value])
    if kind is complex:
        return _named(_COMPLEX, [value.real, value.imag])
    return _of_library(value, kind)


def _of_library(value: object, kind: type) -> object:
    numpy, fractions, decimal = map(sys.modules.get, ("numpy", "fractions", "decimal"))
    if numpy and issubclass(kind, numpy.ndarray | numpy.generic) and value.dtype.kind in _NUMBERS:
        return _named(_NUMPY, [value.dtype.str, [*value.shape], value.tobytes()])
    for base, plain in _BASES.items():
        if issubclass(kind, base):
            return _extended(plain(value)) if base in _EXTENDED else plain(value)
    if fractions and issubclass(kind, fractions.Fraction):
        return _named(_FRACTION, [value.numerator, value.denominator])
    if decimal and issubclass(kind, decimal.Decimal):
        return _named(_DECIMAL, decimal.Decimal.__str__(value))
    return _named(_OTHER, name_of(value))


class _Name:
    """The key of a map that stands for a value of another type."""

    def __init__(self, code: int) -> None:
        self.code = code


_NAMES = {code: _Name(code) for code in range(_INT + 1, _OTHER + 1)}


def _unnamed(code: int, data: bytes) -> object:
    return int.from_bytes(data, "little", signed=True) if code == _INT else _NAMES[code]


def _restored(pairs: list[tuple[object, object]]) -> object:
    if len(pairs) == 1 and type(pairs[0][0]) is _Name:
        return _value(pairs[0][0].code, pairs[0][1])
    return dict(pairs)


_HOOKS = {"ext_hook": _unnamed, "object_pairs_hook": _restored, "strict_map_key": False,
          "unicode_errors": "surrogatepass"}  # fmt: skip


def _value(code: int, contents: object) -> object:
    """Libraries are imported here: the side that only encodes need not load them."""
    if code in _MAKERS:
        return _MAKERS[code](contents)
    if code == _COMPLEX:
        return complex(*contents)
    if code == _NUMPY:
        return _number(*contents)
    if code == _FRACTION:
        from fractions import Fraction

        if {type(number) for number in contents} != {int}:  # of a text it would write out every digit: "1e300000000"
            raise TypeError("a fraction of something else than whole numbers")
        return Fraction(*contents)
    from decimal import Decimal

    return Decimal(contents)


_MAKERS = {_TUPLE: tuple, _SET: set, _FROZENSET: frozenset, _OTHER: Other}


def _number(kind: str, shape: list[int], data: bytes) -> object:
    """A number of numpy's. Of a larger array comparisons have no truth value, and may be larger than memory."""
    import numpy as np

    dtype = np.dtype(kind)
    if dtype.kind not in _NUMBERS or len(data) != dtype.itemsize:
        return Other("numpy.ndarray")
    return np.frombuffer(data, dtype).reshape(shape)[()]  # an array without dimensions is a number
