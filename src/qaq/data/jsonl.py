"""A user's own file: JSON (an array of records), JSONL (a record per line), either gzipped, or Parquet.

The format is told by the content, never by the name. Everything streams: memory does not grow with the file. Blank
lines are not records and are not counted; a UTF-8 byte order mark at the start is skipped. A broken element of an array
ends where the next element starts (a comma, then an object whose first key is one seen before), so one slip of the pen
costs one record; a comma too many, or one missing between two objects, costs none.
"""

import gzip
import io
import json
import logging
import re
import zlib
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from qaq.data.record import DECODER, Record, Source, checked, escaped, not_json, of_value, parse

log = logging.getLogger(__name__)

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_CHUNK = 1 << 20  # bytes read at a time
_BATCH = 1024  # rows of a Parquet file decoded at a time
_SPACE = re.compile(r"[ \t\r\n]*")
_BETWEEN = re.compile(r"[ \t\r\n,]*")
_OPENING = re.compile(r'\{[ \t\r\n]*"([^"\\]*)"[ \t\r\n]*:')
_SCALAR_END = re.compile(r"(?=[,\]])")
_TURN_KEYS = {"role", "content", "from", "value"}
_SURROGATE = re.compile("[\ud800-\udfff]")


def source(settings: dict[str, Any]) -> Source:
    """The records of the file `path`."""
    path = checked_path(settings["path"])
    with path.open("rb") as file:
        start = file.read(len(_PARQUET))
    if start == _PARQUET:
        return Source(_parquet(path), pq.read_metadata(path).num_rows)
    raw, size = path.open("rb"), path.stat().st_size
    return Source(_json(path, raw, start[:2] == _GZIP), size, "B", lambda: size if raw.closed else raw.tell())


def checked_path(path: str) -> Path:
    """`path` if it is a file; ValueError with the way out if not."""
    if Path(path).is_dir():
        raise ValueError(f"data.path={path} is a directory: give one file, or read it with data=hub data.id={path}")
    if not Path(path).is_file():
        raise ValueError(f"data.path={path}: there is no such file")
    return Path(path)


def _json(path: Path, raw: BinaryIO, gzipped: bool) -> Iterator[Record]:
    with raw:
        stream = io.BufferedReader(gzip.GzipFile(fileobj=raw), _CHUNK) if gzipped else raw
        try:
            yield from _json_records(stream, path)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"data.path={path} is a damaged gzip file ({error}): unpack it and give what can be "
                             "unpacked") from error  # fmt: skip


def _json_records(stream: BinaryIO, path: Path) -> Iterator[Record]:
    head = stream.read(_CHUNK)
    if head.startswith(_PARQUET):
        raise ValueError(f"data.path={path} is a gzipped Parquet file: gunzip it (Parquet is compressed inside)")
    head = head.removeprefix(BOM_UTF8)
    if is_array(head):
        return _Array(chain([head], iter(lambda: stream.read(_CHUNK), b""))).records()
    return lines(head, stream)


def is_array(head: bytes) -> bool:
    """Whether a file that starts with `head` is one JSON array. A list on the first line of JSONL is not: in an array
    a line that opens an element follows a comma or the bracket."""
    if not head.lstrip().startswith(b"["):
        return False
    first, *rest = [line.strip() for line in head.split(b"\n") if line.strip()][:2]
    return not rest or first.endswith((b",", b"[")) or not rest[0].startswith((b"{", b"["))


def lines(head: bytes, stream: BinaryIO) -> Iterator[Record]:
    """A record per line that is not blank; `head` is what was already read of the stream."""
    whole, _, begun = head.rpartition(b"\n")
    begun += stream.readline()
    for line in chain(io.BytesIO(whole), [begun], stream):
        line = line.strip(b" \t\r\n")
        if not line:
            continue
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            yield _not_utf8(line.decode("utf-8", "surrogateescape"), error)
        else:
            yield parse(text)


def _not_utf8(text: str, error: UnicodeError) -> Record:
    return Record(None, escaped(text), f"not UTF-8: {error.reason} at byte {error.start}")


class _Array:
    """Elements of a JSON array decoded one by one from a window of text over `chunks`."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks = chunks
        self.decode = getincrementaldecoder("utf-8")("surrogateescape").decode
        self.text, self.at, self.ended = "", 0, False
        self.first_keys: set[str] = set()

    def records(self) -> Iterator[Record]:
        """All elements; what stands after the closing bracket is one more, refused record."""
        self._skip(_SPACE)
        self.at += 1  # the opening bracket
        while self._skip(_BETWEEN) and self.text[self.at] != "]":
            yield self._element()
        if self.at == len(self.text):
            log.warning("the JSON array has no closing bracket: the file may have been cut off")
        self.at += 1
        if self._skip(_SPACE):
            while not self.ended:
                self._more()
            yield Record(None, escaped(self.text[self.at :]), "not JSON: text after the end of the array")

    def _more(self) -> None:
        """At least doubles what is in the window, so that a long element is not decoded again and again."""
        parts, size = [self.text[self.at :]], 0
        while not self.ended and size < max(len(parts[0]), 1):
            data = next(self.chunks, b"")
            self.ended = not data
            parts.append(self.decode(data, final=self.ended))
            size += len(parts[-1])
        self.text, self.at = "".join(parts), 0

    def _skip(self, what: re.Pattern[str]) -> bool:
        """Move past `what`; whether any text is left."""
        while True:
            self.at = what.match(self.text, self.at).end()
            if self.at < len(self.text) or self.ended:
                return self.at < len(self.text)
            self._more()

    def _element(self) -> Record:
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
            except (ValueError, RecursionError) as error:
                if self.ended or _certain(error, len(self.text)):
                    return self._broken(error)
            else:
                after = _SPACE.match(self.text, end).end()
                if after < len(self.text) or self.ended:
                    return self._good(value, end, after)
            self._more()

    def _good(self, value: Any, end: int, after: int) -> Record:
        if self.text[after : after + 1] not in ("", ",", "]", "{"):
            return self._broken(None)
        text, self.at = self.text[self.at : end], after
        if _SURROGATE.search(text):
            return self._refused(text, None)
        if isinstance(value, dict) and value:
            self.first_keys.add(next(iter(value)))
        record = checked(value, text)
        if record.reason or not ("\n" in text or "\r" in text):
            return record
        return of_value(value)  # an element printed over several lines, on one

    def _broken(self, error: Exception | None) -> Record:
        end = self._next_start()
        text, self.at = self.text[self.at : end].rstrip(" \t\r\n,"), end
        return self._refused(text, error)

    def _refused(self, text: str, error: Exception | None) -> Record:
        try:
            text.encode()
        except UnicodeEncodeError as bad:
            return Record(None, escaped(text), f"not UTF-8: invalid byte at character {bad.start}")
        try:  # again on the element alone, so that positions count from its start
            DECODER.decode(text)
        except (ValueError, RecursionError) as alone:
            error = alone
        return Record(None, text, not_json(error) if error else "not JSON: the element does not end where it should")

    def _next_start(self) -> int:
        """Where the element after a broken one starts, or the closing bracket, or the end of the file."""
        if self.text[self.at] in '{["':
            own = _OPENING.match(self.text, self.at)
            ends = _opening_with(self.first_keys | ({own[1]} if own else set()) or self._keys_ahead())
        else:
            ends = _SCALAR_END
        while True:
            if found := ends.search(self.text, self.at + 1):
                return found.end()
            if self.ended:
                text = self.text.rstrip()
                return max(len(text) - text.endswith("]"), self.at + 1)
            self._more()

    def _keys_ahead(self) -> set[str]:
        """The first key of the elements after one that does not show it: a whole object is followed by one of its kind,
        or by the end of the array. An object with the key of a turn lies inside an element."""
        for found in _opening_with(set()).finditer(self.text, self.at):
            key = _OPENING.match(self.text, found.end())[1]
            try:
                _, end = DECODER.raw_decode(self.text, found.end())
            except (ValueError, RecursionError):
                continue
            after = _SPACE.match(self.text, end).end()
            follower = _OPENING.match(self.text, _BETWEEN.match(self.text, after).end())
            if key not in _TURN_KEYS and ((follower and follower[1] == key) or self.text[after:].strip() == "]"):
                return {key}
        return set()


def _opening_with(keys: set[str]) -> re.Pattern[str]:
    """What stands between the end of an element and an object whose first key is one of `keys` (none: any)."""
    known = "|".join(map(re.escape, sorted(keys))) or r'[^"\\]*'
    return re.compile(r"[,}\]][ \t\r\n]*(?=\{[ \t\r\n]*\"(?:" + known + r")\"[ \t\r\n]*:)")


def _certain(error: Exception, window: int) -> bool:
    """Whether more text cannot cure the error."""
    if not isinstance(error, json.JSONDecodeError):
        return True
    return not error.msg.startswith("Unterminated") and error.pos + len("-Infinity") < window


def _parquet(path: Path) -> Iterator[Record]:
    for batch in pq.ParquetFile(path).iter_batches(_BATCH):
        try:
            rows = batch.to_pylist()
        except UnicodeDecodeError:
            yield from (_parquet_row(batch.slice(i, 1)) for i in range(batch.num_rows))
        else:
            yield from map(of_value, rows)


def _parquet_row(row: pa.RecordBatch) -> Record:
    try:
        return of_value(row.to_pylist()[0])
    except UnicodeDecodeError as error:
        shown = [column.cast(pa.binary()) if pa.types.is_string(column.type) else column for column in row.columns]
        values = (str(column[0].as_py()) for column in shown)
        return Record(None, ", ".join(map(": ".join, zip(row.schema.names, values, strict=True))),
                      f"not UTF-8: {error.reason} at byte {error.start}")  # fmt: skip
