"""LOGS: what is known of a number of runs, as plain tables; all that figures, tables and comparisons look at.

Missing is null. `run` names a run by its content, `scores` a METRICS table by its content, so runs that scored alike share one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pyarrow as pa

from qaq import tables
from qaq.tables import COMPARISONS, METRICS, RESULTS, SUBSET, Schema

_s, _i64, _f64 = pa.string(), pa.int64(), pa.float64()


def _schema(name: str, key: str, /, **columns: pa.DataType) -> Schema:
    return Schema(name, tuple(key.split()), pa.schema(list(columns.items())))


def _of(schema: Schema) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in schema.columns}


# mark says why a run must not be used, null if it may; cell is its identity apart from the seed; config, keys and
# seconds are JSON; partial is the part of a benchmark's name that says which tasks, "" for all.
RUNS = _schema(
    "RUNS", "run",
    run=_s, name=_s, group=_s, status=_s, mark=_s, cell=_s, selector=_s, budget=_s, seed=_i64, data=_s, data_digest=_s, rows=_i64,
    pairs=_i64, selected=_i64, scorer=_s, weak=_s, target=_s, train=_s, benchmark=_s, partial=_s, scores=_s, started=_s,
    config=_s, keys=_s, seconds=_s, error=_s)  # fmt: skip
SCORES = _schema("METRICS", "scores id", scores=_s, **_of(METRICS), noise=_s)
SUBSETS = _schema("SUBSETS", "run rank", run=_s, **_of(SUBSET))
TRAINING = _schema(
    "TRAINING", "run train_seed step",
    run=_s, train_seed=_i64, step=_i64, epoch=_f64, loss=_f64, learning_rate=_f64, grad_norm=_f64, tokens=_i64,
    tokens_per_second=_f64, share_of_peak=_f64, memory_bytes=_i64)  # fmt: skip
NOISE = _schema("NOISE", "run kind metric", run=_s, kind=_s, metric=_s, value=_f64)
_SCHEMAS = {"runs": RUNS, "results": RESULTS, "comparisons": COMPARISONS, "metrics": SCORES, "subsets": SUBSETS,
            "training": TRAINING, "noise": NOISE}  # fmt: skip


@dataclass(frozen=True)
class Logs:
    """One field a table."""

    runs: pa.Table
    results: pa.Table
    comparisons: pa.Table
    metrics: pa.Table
    subsets: pa.Table
    training: pa.Table
    noise: pa.Table


def conform(**held: Iterable | pa.Table) -> Logs:
    """Logs of these tables, sorted by key; a table that is not given is empty."""
    made = {}
    for name, schema in _SCHEMAS.items():
        table = tables.conform(held.get(name, []), schema)
        made[name] = table.sort_by([(column, "ascending") for column in schema.key])
    return Logs(**made)


def read(folder: Path) -> Logs:
    """What `write` wrote."""
    return conform(**{field.name: tables.read(folder / f"{field.name}.parquet") for field in fields(Logs)})


def write(logs: Logs, folder: Path) -> None:
    """A Parquet file a table."""
    folder.mkdir(parents=True, exist_ok=True)
    for field in fields(Logs):
        tables.write(getattr(logs, field.name), folder / f"{field.name}.parquet")


def only(logs: Logs, names: Iterable[str]) -> Logs:
    """The same with the tables that are not named left empty: who gets it can have looked at no other."""
    kept = set(names)
    return replace(logs, **{f.name: getattr(logs, f.name).slice(0, 0) for f in fields(Logs) if f.name not in kept})
