"""The tables that pass between rooms: columns, Arrow types, keys.

Rooms meet only here. A table is joined by its key, never by row position; missing is null; fractions are in [0, 1];
log-likelihoods are in nats.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Schema:
    """A named table: `key` columns identify a row, `columns` are all of them in order."""

    name: str
    key: tuple[str, ...]
    columns: pa.Schema


def _schema(name: str, key: str, **columns: pa.DataType) -> Schema:
    return Schema(name, tuple(key.split()), pa.schema(list(columns.items())))


_s, _i32, _i64, _f64, _b = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()

# id is the hash of query and answer (see `pair_id`); row is the 0-based position in the source; record is the source
# record as JSON, untouched; noise is the kind of planted defect ("clean" where none), null where nobody knows.
EXAMPLES = _schema("EXAMPLES", "id", id=_s, row=_i64, query=_s, answer=_s, source=_s, noise=_s, record=_s)

# nll_sum is the summed negative log-likelihood (nats) of the `tokens` tokens of `target` given `given`;
# null with truncated = true where the text does not fit the model's window and was not scored.
LIKELIHOOD = _schema("LIKELIHOOD", "id model target given", id=_s, model=_s, target=_s, given=_s,
                     nll_sum=_f64, tokens=_i32, truncated=_b)  # fmt: skip

_MEASURES = ("log_ppl_q", "log_ppl_q_given_a", "log_ppl_a", "log_ppl_a_given_q", "rmi", "ifd")
# log_ppl_* are nats per token; rmi is their difference (nats per token); ifd is a ratio of losses. The weak model's
# columns are null where only one scorer ran.
METRICS = _schema("METRICS", "id", id=_s, **{f"{side}{m}": _f64 for side in ("", "weak_") for m in _MEASURES})

# What a selector may ask for beside METRICS: the quality signals, and the columns each joins to it by id.
SIGNALS = {
    "complexity": ("complexity", "complexity_queries"),
    "quality": ("tests", "passed", "quality_status"),
    "embedding": ("embedding",),
    "query_length": ("query_words",),
    "scar": ("scar",),
    "rds": ("similarity",),
}

# rank counts from 0, best first; priority is the value that ranked the pair; stratum is its decile of PPL(Q).
SUBSET = _schema("SUBSET", "rank", rank=_i64, id=_s, priority=_f64, stratum=_i32)

# What kind of pair: its source (null: not told), words between white space, language of the answer's code, topic of the query.
FACETS = _schema("FACETS", "id", id=_s, source=_s, query_words=_i32, answer_words=_i32, language=_s, topic=_s)

# Pairs with `value` in the facet, among all scored pairs and among the selected ones.
COMPOSITION = _schema("COMPOSITION", "facet value", facet=_s, value=_s, pool=_i64, selected=_i64)

# How much of a benchmark's task the pairs of the "data", or of the "selection", give away: similarity is the best of any pair
# (XCoder, see qaq.data.leakage), `id` the pair's, null where none shares anything. query (the pair's text that was compared)
# and test are the two texts of the worst tasks, in leaks.parquet, else null.
LEAKAGE = _schema("LEAKAGE", "benchmark part task_id", benchmark=_s, part=_s, task_id=_s, similarity=_f64, id=_s, query=_s,
                  test=_s)  # fmt: skip

# raw is the reply as it was said; solution is the program cut out of it and, where `cleaned`, sanitized.
SOLUTIONS = _schema("SOLUTIONS", "task_id sample", task_id=_s, sample=_i32, solution=_s, raw=_s, tokens=_i32, capped=_b,
                    cleaned=_b)  # fmt: skip

# status is one of pass, fail, timeout, error; plus_passed is null where the benchmark has no extended tests; compiles
# is whether the solution is Python at all, null where nobody looked.
VERDICTS = _schema("VERDICTS", "task_id sample", task_id=_s, sample=_i32, base_passed=_b, plus_passed=_b, status=_s,
                   seconds=_f64, compiles=_b)  # fmt: skip

# low and high bound the 95% interval of value; selector is "base" for the target before fine-tuning. A share has count
# of `of` verdicts (tasks x samples x seeds). pooled is the number of models in it: more than 1 is several training seeds
# taken together, and train_seed is then null.
RESULTS = _schema("RESULTS", "run selector benchmark metric", run=_s, benchmark=_s, metric=_s, selector=_s,
                  budget=_s, seed=_i64, train_seed=_i64, models=_s, value=_f64, low=_f64, high=_f64, tasks=_i64,
                  count=_i64, of=_i64, pooled=_i64)  # fmt: skip

# The model of a RESULTS row less the model `against`, task by task: value is the difference, p two-sided; it is better on
# `won` tasks, worse on `lost` (null where more is neither).
COMPARISONS = _schema("COMPARISONS", "run selector against benchmark metric", run=_s, selector=_s, against=_s,
                      benchmark=_s, metric=_s, train_seed=_i64, value=_f64, low=_f64, high=_f64, p=_f64, won=_i64,
                      lost=_i64, tied=_i64, tasks=_i64, pooled=_i64)  # fmt: skip


def pair_id(query: str, answer: str) -> str:
    """Identity of a pair: the same text is the same pair in every file. 64-bit hex of SHA-256."""
    digest = hashlib.sha256()
    for text in (query, answer):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:16]


def conform(table: pa.Table | Mapping[str, Any] | Iterable[Mapping[str, Any]], schema: Schema) -> pa.Table:
    """As `shape`; ValueError for a repeated or null key too."""
    table = shape(table, schema)
    _check_key(table, schema)
    return table


def shape(table: pa.Table | Mapping[str, Any] | Iterable[Mapping[str, Any]], schema: Schema) -> pa.Table:
    """`table` with exactly the schema's columns in order; absent columns become null.

    Raises ValueError for a column the schema lacks or a value of the wrong type.
    """
    if not isinstance(table, pa.Table):
        table = pa.table(dict(table) if isinstance(table, Mapping) else _transposed(list(table)))
    extra = set(table.column_names) - set(schema.columns.names)
    if extra:
        raise ValueError(f"{schema.name} has no column {sorted(extra)}; its columns: {schema.columns.names}")
    columns = [_column(table, field, schema) for field in schema.columns]
    return pa.table(columns, schema=schema.columns)


def _transposed(rows: list[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Every column that any row has; pa.Table.from_pylist would take those of the first."""
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(name for row in rows for name in row)}


def _column(table: pa.Table, field: pa.Field, schema: Schema) -> pa.ChunkedArray | pa.Array:
    if field.name not in table.column_names:
        return pa.nulls(table.num_rows, field.type)
    try:
        return table[field.name].cast(field.type)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{schema.name}.{field.name} must be {field.type}: {error}") from error


def _check_key(table: pa.Table, schema: Schema) -> None:
    keys = table.select(list(schema.key))
    if any(column.null_count for column in keys.columns):
        raise ValueError(f"{schema.name}: a key column of {schema.key} holds a null")
    counts = keys.group_by(list(schema.key)).aggregate([([], "count_all")])
    if counts.num_rows != table.num_rows:
        twice = next(row for row in counts.to_pylist() if row["count_all"] > 1)
        raise ValueError(f"{schema.name}: key {schema.key} repeats: {twice}")


def digest_of_ids(ids: Iterable[str]) -> str:
    """SHA-256 of a set of ids: the same pairs in any order are the same input."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def digest_of(examples: Path) -> str:
    """`digest_of_ids` of a file of EXAMPLES."""
    return digest_of_ids(read(examples, ["id"])["id"].to_pylist())


def write(table: pa.Table, path: Path) -> None:
    """Parquet; the caller puts `path` inside a directory that the store renames when complete."""
    pq.write_table(table, path, compression="zstd")


def read(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A whole table, or only `columns` of it."""
    return pq.read_table(path, columns=columns)


def json_line(row: Any) -> str:
    """One line of a JSONL file."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def write_jsonl(rows: Iterable[Any], path: Path) -> int:
    """One JSON value a line, UTF-8; returns the number of rows."""
    count = 0
    with path.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json_line(row))
            count += 1
    return count


def read_jsonl(path: Path) -> Iterator[Any]:
    """The rows `write_jsonl` wrote."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
