"""What a .wandb file says: the log that W&B keeps of an offline run.

Seven bytes of header, then LevelDB's log format: blocks of 32 KiB, in them pieces {CRC-32 of type and data, length, type}; a
piece is a whole record, or the first, a middle or the last part of one, and each record a protocol buffer. wandb 0.31 has no
public reader. W&B writes whole blocks, so a process that was killed leaves its last 32 KiB out: only a file that ends with
the record `exit` tells a run to its end.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

_HEADER, _PIECE, _BLOCK = struct.Struct("<4sHB"), struct.Struct("<IHB"), 32 * 1024
_MAGIC = (b":W&B", 0xBEE1, 0)
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


class Torn(ValueError):
    """The file ends, or holds something else, in the middle of a record."""


@dataclass
class Log:
    """What is known of a run; `torn` says why no end was met."""

    name: str | None = None
    group: str | None = None
    job_type: str | None = None
    exit_code: int | None = None
    torn: str | None = None


def read(file: Path) -> Log:
    """The run's names and how it ended."""
    log = Log(torn="it has no end")
    try:
        for record in records(file.read_bytes()):
            if record.HasField("run"):
                log.name, log.group, log.job_type = record.run.display_name, record.run.run_group, record.run.job_type
            elif record.HasField("exit"):
                log.exit_code, log.torn = record.exit.exit_code, None
    except Torn as error:
        log.torn = str(error)
    return log


def records(data: bytes) -> Iterator[Record]:
    """The records in order. Torn where the bytes stop or are not what was written."""
    if len(data) < _HEADER.size or _HEADER.unpack_from(data) != _MAGIC:
        raise Torn("no W&B log starts here")
    held = b""
    for kind, part in _pieces(data):
        held = part if kind in (_FULL, _FIRST) else held + part
        if kind in (_FULL, _LAST):
            yield Record.FromString(held)
            held = b""
    if held:
        raise Torn("it stops inside a record")


def _pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = _HEADER.size
    while at < len(data):
        left = _BLOCK - at % _BLOCK
        if left < _PIECE.size:  # too little for a piece: zeros up to the next block
            at += left
            continue
        if at + _PIECE.size > len(data):
            raise Torn(f"it stops inside a record, at byte {at}")
        check, length, kind = _PIECE.unpack_from(data, at)
        part = data[at + _PIECE.size : at + _PIECE.size + length]
        if len(part) < length:
            raise Torn(f"it stops inside a record, at byte {at}")
        if zlib.crc32(part, zlib.crc32(bytes([kind]))) != check:
            raise Torn(f"it is damaged at byte {at}")
        yield kind, part
        at += _PIECE.size + length
