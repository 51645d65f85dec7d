"""A source becomes EXAMPLES: every record is either kept as a pair or listed in quarantine.jsonl with its reason.

A record's row is its 0-based position in the source (of JSONL: among the lines that are not blank). Two records are
duplicates if query and answer are the same text; the first is kept. One pass, in row groups: beside a row group only
the 64-bit ids of the kept pairs are in memory.
"""

import json
import logging
import platform
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qaq.data import hub, jsonl, noise, shapes, stdlib
from qaq.data.record import Record, Source, Unusable
from qaq.progress import Progress
from qaq.store import file_digest
from qaq.tables import EXAMPLES, pair_id

log = logging.getLogger(__name__)

_ROW_GROUP = 4096  # rows
_SHOWN = 3  # refused records that an error message quotes
_ALWAYS = ("name", "turns", "limit", "query", "answer", "input")


def identity(settings: dict[str, Any]) -> dict[str, Any]:
    """What determines the examples: the source's content and the options that can change the result, never a path."""
    kind = _kind(settings)
    options = {name: settings[name] for name in _ALWAYS}
    if settings["noise"]:
        options |= {name: settings[name] for name in ("noise", "noise_kinds")}
    if settings["noise"] or kind == "stdlib":
        options["seed"] = settings["seed"]
    if kind == "stdlib":
        return {"python": platform.python_version(), **options}
    if kind == "jsonl":
        return {"sha256": file_digest(jsonl.checked_path(settings["path"])), **options}
    return {**hub.identity(settings), **options}


def load(settings: dict[str, Any], out: Path) -> dict[str, Any]:
    """Write examples.parquet, quarantine.jsonl and counts.json into `out`; return the counts.

    counts: rows = kept + quarantined; by_reason; multi_turn = kept records of more than one user turn; system_turn =
    kept records with a system turn, which stays in the record and is no part of the pair; shape = kept
    records per pair of fields; noise = rows per kind, where `noise` is above 0. ValueError if nothing is kept.
    """
    noise.check(settings)
    kind = _kind(settings)
    source = {"stdlib": stdlib, "jsonl": jsonl, "hub": hub}[kind].source(settings)
    what = settings["path"] or settings["id"] or settings["name"]
    cleaning = _Cleaning(settings, out)
    cleaning.run(source, what)
    counts = cleaning.counts()
    if not counts["kept"]:
        raise ValueError(_nothing_usable(what, counts, cleaning))
    log.info("%s: %d records, %d kept, %d quarantined %s", what, *(counts[k] for k in ("rows", "kept", "quarantined")),
             counts["by_reason"] or "")  # fmt: skip
    if settings["noise"]:
        counts["noise"] = noise.spoil(out / "examples.parquet", settings)
    (out / "counts.json").write_text(json.dumps(counts, indent=1) + "\n")
    return counts


def write_turns(examples: Path, settings: dict[str, Any], out: Path) -> None:
    """A Parquet file of id, query, answer and `queries`: the user's turns that the query was made of (data.turns=every)."""
    columns = ["id", "query", "answer", "record"]
    with pq.ParquetWriter(
        out, pa.schema([*((n, pa.string()) for n in columns[:3]), ("queries", pa.list_(pa.string()))])
    ) as writer:
        for batch in pq.ParquetFile(examples).iter_batches(_ROW_GROUP, columns=columns):
            rows = [(json.loads(row["record"]), row["query"]) for row in batch.select(["record", "query"]).to_pylist()]
            queries = pa.array([shapes.user_turns(settings, *row) for row in rows], pa.list_(pa.string()))
            writer.write_table(pa.table([*(batch[name] for name in columns[:3]), queries], schema=writer.schema))


def _kind(settings: dict[str, Any]) -> str:
    if settings["path"] and settings["id"]:
        raise ValueError(f"data.path={settings['path']} and data.id={settings['id']} are both set: give one of them")
    if settings["path"] or settings["id"]:
        return "jsonl" if settings["path"] else "hub"
    if settings["name"] != "stdlib":
        raise ValueError(f"data {settings['name']!r} has no source: set data.path=FILE or data.id=ID")
    return "stdlib"


class _Cleaning:
    """The pass over the records: what was kept, what was refused, and the rows not yet written."""

    def __init__(self, settings: dict[str, Any], out: Path) -> None:
        self.read: Callable[[Any], shapes.Pair] = shapes.reader(settings)
        self.name, self.limit, self.out = settings["name"], settings["limit"], out
        self.rows_of: dict[int, int] = {}  # id as a number -> row
        self.reasons: Counter[str] = Counter()
        self.shapes: Counter[str] = Counter()
        self.keys: Counter[str] = Counter()  # fields of refused records
        self.first_refused: list[str] = []
        self.rows = self.multi_turn = self.system_turn = 0

    def run(self, source: Source, what: str) -> None:
        """Read all records, or the first `limit`."""
        records = islice(source.records, self.limit)
        with ExitStack() as stack:
            writer = stack.enter_context(pq.ParquetWriter(self.out / "examples.parquet", EXAMPLES.columns,
                                                          compression="zstd"))  # fmt: skip
            self.quarantine = stack.enter_context((self.out / "quarantine.jsonl").open("w", encoding="utf-8"))
            bar = stack.enter_context(Progress(f"read {what}", source.total, source.unit)) if source.total else None
            while self._write_group(writer, islice(records, _ROW_GROUP)):
                if bar:
                    bar.add(source.done() - bar.done)
            source.records.close()

    def _write_group(self, writer: pq.ParquetWriter, records: Iterator[Record]) -> bool:
        """Clean and write the next rows; whether there were any."""
        start, kept = self.rows, []
        for record in records:
            try:
                kept.append(self._keep(record))
            except Unusable as reason:
                self._refuse(record, str(reason))
            self.rows += 1
        if kept:
            columns = zip(zip(*kept, strict=True), EXAMPLES.columns.types, strict=True)
            arrays = [pa.array(values, type) for values, type in columns]
            writer.write_table(pa.Table.from_arrays(arrays, schema=EXAMPLES.columns))
        return self.rows > start

    def _keep(self, record: Record) -> tuple[Any, ...]:
        """The row of EXAMPLES, its columns in order."""
        if record.reason:
            raise Unusable(record.reason)
        query, answer, shape, multi_turn, system_turn = self.read(record.value)
        id = pair_id(query, answer)
        first = self.rows_of.setdefault(int(id, 16), self.rows)
        if first != self.rows:
            raise Unusable(f"duplicate of row {first}")
        self.shapes[shape] += 1
        self.multi_turn += multi_turn
        self.system_turn += system_turn
        return id, self.rows, query, answer, self.name, None, record.text

    def _refuse(self, record: Record, reason: str) -> None:
        self.reasons["duplicate" if reason.startswith("duplicate") else reason.split(":")[0]] += 1
        unread = record.value is None and record.reason
        # record.text is strict JSON whatever the source's own types (dates, NaN) are
        line = {"row": self.rows, "reason": reason, "record": record.text if unread else json.loads(record.text)}
        self.quarantine.write(_line(line) + "\n")
        if isinstance(record.value, dict):
            self.keys.update(list(record.value))
        if len(self.first_refused) < _SHOWN:
            self.first_refused.append(f"row {self.rows}: {reason}")

    def counts(self) -> dict[str, Any]:
        """The counts so far."""
        quarantined = sum(self.reasons.values())
        return {"rows": self.rows, "kept": self.rows - quarantined, "quarantined": quarantined,
                "by_reason": dict(self.reasons.most_common()), "multi_turn": self.multi_turn, "system_turn": self.system_turn,
                "shape": dict(self.shapes.most_common())}  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can show
        return json.dumps(row)
    return text


def _nothing_usable(what: str, counts: dict[str, Any], cleaning: _Cleaning) -> str:
    if not counts["rows"]:
        return f"{what} holds no record"
    keys = [key for key, _ in cleaning.keys.most_common(20)]
    way_out = (f"its records have the fields {keys}: name the ones that hold the pair, "
               "data.query=FIELD data.answer=FIELD" if keys else
               "a JSON array of objects, an object on each line, or Parquet is needed")  # fmt: skip
    first = "; ".join(cleaning.first_refused)
    return f"{what}: none of {counts['rows']} records can be used {counts['by_reason']} ({first}); {way_out}"
