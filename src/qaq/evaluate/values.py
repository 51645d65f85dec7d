"""Python values as bytes and back, without running anything: what a solution returned, on its way to its judge.

MessagePack (a C library made for data of strangers) with extensions for what it lacks. The side that runs a model's code
only encodes; a subclass is reduced to its plain base by the base's own methods, so that nothing the model wrote decides
what is compared. Equal bytes are equal values, but not the other way round (1 and 1.0, dictionaries in another order).
"""

import sys

from msgpack import ExtType, packb, unpackb

_TUPLE, _SET, _FROZENSET, _INT, _COMPLEX, _NUMPY, _FRACTION, _DECIMAL, _OTHER = range(9)
_DEEPEST = 64  # extensions within extensions that we follow; MessagePack bounds its own nesting
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
    dict: dict.copy,
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
    return packb(value, default=_extended, strict_types=True, unicode_errors="surrogatepass", buf_size=64)


def name_of(value: object) -> str:
    """The name of a value's type: two values' types are compared by it."""
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def decode(data: bytes, depth: int = 0) -> object:
    """The value; what was of a subclass comes back plain. Raises ValueError or TypeError for what `encode` never made."""
    if depth > _DEEPEST:
        raise ValueError("a value nested too deeply")
    return unpackb(data, ext_hook=lambda code, inner: _restored(code, inner, depth + 1), strict_map_key=False,
                           unicode_errors="surrogatepass")  # fmt: skip


def _extended(value: object) -> object:
    """What MessagePack itself cannot hold."""
    kind = type(value)
    if kind is tuple:
        return ExtType(_TUPLE, encode([*value]))
    if kind is int:
        return ExtType(_INT, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))
    if kind is set or kind is _KEYS or kind is _ITEMS:  # views of a dictionary equal the set of their elements
        return ExtType(_SET, encode(sorted(map(encode, value))))
    if kind is frozenset:
        return ExtType(_FROZENSET, encode(sorted(map(encode, value))))
    if kind is complex:
        return ExtType(_COMPLEX, encode([value.real, value.imag]))
    return _of_library(value, kind)


def _of_library(value: object, kind: type) -> object:
    numpy, fractions, decimal = map(sys.modules.get, ("numpy", "fractions", "decimal"))
    if numpy and issubclass(kind, numpy.ndarray | numpy.generic) and value.dtype.kind in _NUMBERS:
        return ExtType(_NUMPY, encode([value.dtype.str, [*value.shape], value.tobytes()]))
    for base, plain in _BASES.items():
        if issubclass(kind, base):
            return _extended(plain(value)) if base in _EXTENDED else plain(value)
    if fractions and issubclass(kind, fractions.Fraction):
        return ExtType(_FRACTION, encode([value.numerator, value.denominator]))
    if decimal and issubclass(kind, decimal.Decimal):
        return ExtType(_DECIMAL, encode(decimal.Decimal.__str__(value)))
    return ExtType(_OTHER, encode(name_of(value)))


def _restored(code: int, data: bytes, depth: int) -> object:
    """The value of an extension. Libraries are imported here: the side that only encodes need not load them."""
    if code == _INT:
        return int.from_bytes(data, "little", signed=True)
    inner = decode(data, depth)
    if code == _TUPLE:
        return tuple(inner)
    if code in (_SET, _FROZENSET):
        elements = (decode(element, depth) for element in inner)
        return set(elements) if code == _SET else frozenset(elements)
    if code == _COMPLEX:
        return complex(*inner)
    if code == _NUMPY:
        return _array(*inner)
    if code == _FRACTION:
        from fractions import Fraction

        return Fraction(*inner)
    if code == _DECIMAL:
        from decimal import Decimal

        return Decimal(inner)
    return Other(str(inner))


def _array(kind: str, shape: list[int], data: bytes) -> object:
    """A number of numpy's. Of a larger array comparisons have no truth value, and may be larger than memory."""
    import numpy as np

    dtype = np.dtype(kind)
    if dtype.kind not in _NUMBERS or len(data) != dtype.itemsize:
        return Other("numpy.ndarray")
    return np.frombuffer(data, dtype).reshape(shape)[()]  # an array without dimensions is a number
