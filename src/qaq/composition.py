"""What a selector takes: sources, lengths, languages and topics of its pairs, against all pairs it could choose from.

XCoder's analysis of its selection (section 5) compares sources; lengths, languages and topics are ours. The labels are a
property of the pair and lie in the store, once for each data set; COMPOSITION is a count of them.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qaq import tables
from qaq.data import facets, language, topic
from qaq.job import Job
from qaq.tables import COMPOSITION

UNTOLD = "not told"  # the source of a record that lacks the field which names it for others
_OF = {"source": "source", "query words": "query_words", "answer words": "answer_words",
       "language": "language", "topic": "topic"}  # fmt: skip


def check(settings: dict[str, Any]) -> None:
    """ValueError for rules that cannot be used."""
    for name in ("values", "longest"):
        if not isinstance(settings[name], int) or settings[name] < 1:
            raise ValueError(f"composition.{name}={settings[name]}: give a whole number of at least 1")
    if not isinstance(settings["source"], str | None):
        raise ValueError(f"composition.source={settings['source']}: give the name of a field, or null")
    lists = {"source_fields": settings["source_fields"]}
    try:
        lists |= {f"languages ({one['name']}) tags": one["tags"] for one in settings["languages"]}
        lists |= {
            f"topics ({one['name']}) {part}": one[part] for one in settings["topics"] for part in ("certain", "words")
        }
        for name, value in lists.items():
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise ValueError(f"composition.{name}={value!r}: give a list of texts")
        language.detector(settings["languages"], settings["longest"])
        topic.detector(settings["topics"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"composition: languages need name, tags and pattern, topics name, certain and words ({error!r}); "
                         "see conf/composition/defaults.yaml") from error  # fmt: skip


def labels(job: Job, examples: Path) -> pa.Table:
    """FACETS of this run's pairs. ValueError for a composition.source that no record has."""
    settings = {name: value for name, value in job.cfg["composition"].items() if name != "name"}
    what = {"examples": job.result["keys"]["load"]}  # records and all: the pairs' ids do not tell their sources
    entry = job.store.entry("facets", facets.VERSION, settings, what,
                            lambda out: tables.write(facets.facets(examples, settings), out / "facets.parquet"))  # fmt: skip
    job.keep("facets", entry)
    return tables.read(entry.path / "facets.parquet")


def with_lengths(pairs: pa.Table, labels: pa.Table) -> pa.Table:
    """`pairs` (a table with an id) with the words of query and answer, from FACETS."""
    places = pc.index_in(pairs["id"], labels["id"].combine_chunks())
    for name in ("query_words", "answer_words"):
        pairs = pairs.append_column(name, labels[name].take(places))
    return pairs


def composition(labels: pa.Table, pool: pa.ChunkedArray, selected: pa.ChunkedArray) -> pa.Table:
    """COMPOSITION: of every facet each value that the pool holds, most pairs first, lengths in their order.

    `labels`: FACETS; `pool` and `selected`: ids. In every facet the counts add up to the pool and to the selection.
    KeyError for an id without labels.
    """
    places = pc.index_in(pool.combine_chunks(), labels["id"].combine_chunks())
    if places.null_count:
        raise KeyError(f"FACETS has no row {pool.filter(pc.is_null(places))[0].as_py()}")
    table, chosen = labels.take(places), pc.is_in(pool, selected.combine_chunks()).to_numpy()
    rows = []
    for facet, column in _OF.items():
        values = table[column]
        values = _ranges(values) if pa.types.is_integer(values.type) else pc.fill_null(values, UNTOLD)
        counts = pa.table(
            {"value": values, "pool": np.ones(len(chosen), np.int64), "selected": chosen.astype(np.int64)}
        )
        counted = counts.group_by("value").aggregate([("pool", "sum"), ("selected", "sum")]).to_pylist()
        rows += [{"facet": facet, "value": one["value"], "pool": one["pool_sum"], "selected": one["selected_sum"]}
                 for one in sorted(counted, key=lambda one: order(one["value"], one["pool_sum"]))]  # fmt: skip
    return tables.conform(rows, COMPOSITION)


def _ranges(words: pa.ChunkedArray) -> pa.Array:
    """`1`, `2-3`, `4-7`, ...: numbers of words between powers of two."""
    power = np.frexp(np.maximum(words.to_numpy(), 1))[1] - 1
    names = {int(k): f"{2**k}-{2 ** (k + 1) - 1}" if k else "1" for k in np.unique(power)}
    return pa.array([names[k] for k in power.tolist()], pa.string())


def order(value: str, pool: int) -> tuple[int, int, str]:
    """Sorts the values of a facet: ranges by their beginning, others by their pairs, most first."""
    start = re.fullmatch(r"(\d+)(-\d+)?", value)
    return (int(start[1]), 0, value) if start else (0, -pool, value)
