"""A source becomes EXAMPLES: every record is kept as a pair, set aside as one, or listed in quarantine.jsonl with its reason.

A record's row is its 0-based position in the source (of JSONL: among the lines that are not blank). Two records are
duplicates if query and answer are the same text; the first is kept. One pass, in row groups: beside a row group only
the 64-bit ids of the kept pairs are in memory.
"""

import hashlib
import json
import logging
import platform
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import compress, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qaq.data import hub, jsonl, leakage, near_duplicates, noise, shapes, stdlib
from qaq.data.record import Record, Source, Unusable
from qaq.progress import Progress
from qaq.store import file_digest
from qaq.tables import EXAMPLES, pair_id

log = logging.getLogger(__name__)

_ROW_GROUP = 4096  # rows
_SHOWN = 3  # refused records that an error message quotes
_ALWAYS = ("name", "turns", "limit", "query", "answer", "input")


def identity(settings: dict[str, Any], tests: leakage.Tests | None = None) -> dict[str, Any]:
    """What determines the examples: the source's content and the options that can change the result, never a path.

    `tests`: the benchmarks that data.decontaminate asks for; ValueError where it does and they are not given.
    """
    kind = _kind(settings)
    options = {name: settings[name] for name in _ALWAYS}
    if settings["noise"]:
        options |= {name: settings[name] for name in ("noise", "noise_kinds")}
    if settings["near_duplicates"]:
        options["near_duplicates"] = settings["near_duplicates"]
    if settings["decontaminate"]:
        options |= {
            "decontaminate": settings["decontaminate"],
            "tests": _given(tests).digest,
            "leakage": leakage.VERSION,
        }
    if settings["held_out"]:
        options["held_out"] = settings["held_out"]
    if settings["noise"] or settings["held_out"] or kind == "stdlib":
        options["seed"] = settings["seed"]
    if kind == "stdlib":
        return {"python": platform.python_version(), **options}
    if kind == "jsonl":
        return {"sha256": file_digest(jsonl.checked_path(settings["path"])), **options}
    return {**hub.identity(settings), **options}


def _given(tests: leakage.Tests | None) -> leakage.Tests:
    if tests is None:
        raise ValueError("decontaminate is for the pairs that are selected from, which are held against the benchmarks: leave "
                         "it null here")  # fmt: skip
    return tests


def load(settings: dict[str, Any], out: Path, tests: leakage.Tests | None = None) -> dict[str, Any]:
    """Write examples.parquet, quarantine.jsonl and counts.json into `out`; return the counts. `tests`: see `identity`.

    With `held_out`, held_out.parquet has the share of the pairs that is set aside, EXAMPLES too, before any noise.

    counts: rows = kept + quarantined (+ held_out); by_reason; multi_turn = kept records of more than one user turn; system_turn =
    kept records with a system turn, which stays in the record and is no part of the pair; shape = kept
    records per pair of fields; near_duplicates = the first few of them; noise = rows per kind, where `noise` is above 0.
    ValueError if nothing is kept.
    """
    noise.check(settings)
    kind = _kind(settings)
    source = {"stdlib": stdlib, "jsonl": jsonl, "hub": hub}[kind].source(settings)
    what = settings["path"] or settings["id"] or settings["name"]
    cleaning = _Cleaning(settings, out)
    cleaning.run(source, what)
    if not cleaning.traits:
        raise ValueError(_nothing_usable(what, cleaning.counts(), cleaning))
    # Leaks first: a pair that goes for its leak may be the only one that a copy of it was close to.
    if settings["decontaminate"]:
        _without_leaks(cleaning, _given(tests), settings["decontaminate"], settings["turns"])
    shown = _without_near_duplicates(cleaning, settings["near_duplicates"]) if settings["near_duplicates"] else {}
    if settings["held_out"]:
        shown["held_out"] = cleaning.set_aside(settings["held_out"], settings["seed"])
    counts = {**cleaning.counts(), **shown}
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


def _without_near_duplicates(cleaning: "_Cleaning", threshold: float) -> dict[str, Any]:
    """Take them out; the first few, side by side."""
    reasons, shown = {}, []
    for near in near_duplicates.find(cleaning.examples, threshold):
        reasons[near.id] = f"near-duplicate of row {near.of_row}: Jaccard {near.jaccard:.2f}"
        if len(shown) < _SHOWN:
            shown.append({name: value for name, value in near._asdict().items() if name != "id"})
    cleaning.withdraw("near-duplicate", reasons)
    return {"near_duplicates": shown}


def _without_leaks(cleaning: "_Cleaning", tests: leakage.Tests, threshold: float, turns: str) -> None:
    reasons, before = leakage.reasons(cleaning.examples, tests, threshold), len(cleaning.traits)
    if len(reasons) == before:
        first = next(iter(reasons.values()))
        raise ValueError(f"data.decontaminate={threshold} takes out every one of {before} pairs (the first {first}): raise it, or "
                         "leave out a benchmark with leakage.benchmarks")  # fmt: skip
    cleaning.withdraw("leaks a benchmark", reasons)
    if turns != "every" and (several := sum(multi for _, multi, _ in cleaning.traits)):
        log.warning("decontaminate read only the %s exchange of %d kept records that have more: those stay in the record, and so in "
                    "selected.jsonl; data.turns=every holds all of them against the benchmarks", turns, several)  # fmt: skip


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
        self.examples = out / "examples.parquet"
        self.rows_of: dict[int, int] = {}  # id as a number -> row
        self.traits: list[tuple[str, bool, bool]] = []  # of each kept pair: its shape, multi_turn, system_turn
        self.reasons: Counter[str] = Counter()
        self.keys: Counter[str] = Counter()  # fields of refused records
        self.first_refused: list[str] = []
        self.rows = 0

    def run(self, source: Source, what: str) -> None:
        """Read all records, or the first `limit`."""
        records = islice(source.records, self.limit)
        with ExitStack() as stack:
            writer = stack.enter_context(pq.ParquetWriter(self.examples, EXAMPLES.columns, compression="zstd"))
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
        self.traits.append((sys.intern(shape), multi_turn, system_turn))
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
        quarantined, shapes = sum(self.reasons.values()), Counter(shape for shape, _, _ in self.traits)
        return {"rows": self.rows, "kept": len(self.traits), "quarantined": quarantined,
                "by_reason": dict(self.reasons.most_common()), "multi_turn": sum(multi for _, multi, _ in self.traits),
                "system_turn": sum(system for _, _, system in self.traits), "shape": dict(shapes.most_common())}  # fmt: skip

    def withdraw(self, kind: str, reasons: Mapping[str, str]) -> None:
        """Take kept pairs out of examples.parquet again and into the quarantine: id -> reason, of one `kind`."""
        if not reasons:
            return
        with (self.out / "quarantine.jsonl").open("a", encoding="utf-8") as quarantine:
            for batch in self._taken_out(reasons):
                for row in batch.select(["id", "row", "record"]).to_pylist():
                    line = {"row": row["row"], "reason": reasons[row["id"]], "record": json.loads(row["record"])}
                    quarantine.write(_line(line) + "\n")
        self.reasons[kind] += len(reasons)

    def set_aside(self, share: float, seed: int) -> int:
        """Move a share of the kept pairs from examples.parquet to held_out.parquet; how many. ValueError if either is then empty.

        Drawn by the digest of seed and id, so the order of the records does not matter.
        """
        ids = pq.read_table(self.examples, columns=["id"])["id"].to_pylist()
        count = int(share * len(ids) + 0.5)
        if not 0 < count < len(ids):
            raise ValueError(f"data.held_out={share} sets {count} of {len(ids)} pairs aside: both parts need a pair")
        ids.sort(key=lambda id: hashlib.sha256(f"held out {seed} {id}".encode()).digest())
        with pq.ParquetWriter(self.out / "held_out.parquet", EXAMPLES.columns, compression="zstd") as writer:
            for batch in self._taken_out(ids[:count]):
                writer.write_batch(batch)
        return count

    def _taken_out(self, ids: Iterable[str]) -> Iterator[pa.RecordBatch]:
        """Rewrite examples.parquet without `ids`; their rows, in its order. Complete once exhausted."""
        scratch, stays, out = self.examples.with_suffix(".thinned"), [], pa.array(list(ids), pa.string())
        with pq.ParquetWriter(scratch, EXAMPLES.columns, compression="zstd") as writer:
            for batch in pq.ParquetFile(self.examples).iter_batches(_ROW_GROUP):
                goes = pc.is_in(batch["id"], value_set=out)
                yield batch.filter(goes)
                writer.write_batch(batch.filter(pc.invert(goes)))
                stays += pc.invert(goes).to_pylist()
        scratch.rename(self.examples)
        self.traits = list(compress(self.traits, stays))


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
