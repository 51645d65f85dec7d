"""EXAMPLES -> FACETS: what kind of pair each one is. Of the pair alone, so it is the same for every selector.

Lengths are in words between white space. Where a pair comes from is said by a field of its record (a named one, or the first
of a list of usual names that the record has as text), else by the data set's own name.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qaq.data import language, topic
from qaq.tables import FACETS, conform

VERSION = 3  # of the results: raise it when the same rules would give other facets
REST = "other sources"
_BATCH = 4096  # rows of EXAMPLES held at a time
_SHOWN = 80  # characters of a source's name
_COLUMNS = ["id", "query", "answer", "source", "record"]
Row = dict[str, Any]


def facets(examples: Path, settings: dict[str, Any]) -> pa.Table:
    """FACETS of the file `examples`; `settings`: see conf/composition. ValueError if no record has the field that is to name
    its source."""
    read_languages = language.detector(settings["languages"], settings["longest"])
    read_topic = topic.detector(settings["topics"])
    read_source = _source(settings)
    rows = []
    for batch in _batches(examples):
        languages = read_languages([row["answer"] for row in batch])
        rows += [
            {"id": row["id"], "source": read_source(row), "query_words": len(row["query"].split()),
             "answer_words": len(row["answer"].split()), "language": spoken,
             "topic": read_topic(row["query"][: settings["longest"]])}
            for row, spoken in zip(batch, languages, strict=True)
        ]  # fmt: skip
    if settings["source"] and not any(row["source"] for row in rows):
        raise ValueError(f"composition.source={settings['source']}: no record of {len(rows)} has that field as text; "
                         "null looks for the usual names")  # fmt: skip
    return _few(conform(rows, FACETS), settings["values"])


def _batches(examples: Path) -> Iterator[list[Row]]:
    for batch in pq.ParquetFile(examples).iter_batches(_BATCH, columns=_COLUMNS):
        yield batch.to_pylist()


def _source(settings: dict[str, Any]) -> Callable[[Row], str | None]:
    """The function from a row of EXAMPLES to its source; None where the field that was named holds none."""
    fields = [settings["source"]] if settings["source"] else settings["source_fields"]
    keys = [
        json.dumps(field, ensure_ascii=ascii) for field in fields for ascii in (True, False)
    ]  # records are as they were written

    def source(row: Row) -> str | None:
        text = row["record"]
        if any(key in text for key in keys):  # most records have none of the fields and are not parsed
            record = json.loads(text)
            values = (record.get(field) for field in fields) if isinstance(record, dict) else ()
            if found := next((value.strip() for value in values if isinstance(value, str) and value.strip()), None):
                return found[:_SHOWN]
        return None if settings["source"] else row["source"]

    return source


def _few(table: pa.Table, values: int) -> pa.Table:
    """Sources beyond the `values` with most pairs as one."""
    counts = Counter(table["source"].to_pylist())
    kept = sorted(counts, key=lambda name: (-counts[name], name or ""))[:values]
    if len(kept) == len(counts):
        return table
    named = pc.if_else(pc.is_in(table["source"], pa.array(kept, pa.string())), table["source"], REST)
    return table.set_column(table.column_names.index("source"), "source", named)
