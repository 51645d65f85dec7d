"""LOGS: what is known of a number of runs, as plain tables. Figures, tables, the report and the comparison look at nothing else.

`run` names a run, and `scores` a METRICS table, by its content. Every table is sorted by its key; missing is null.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from qaq import tables
from qaq.tables import COMPARISONS, COMPOSITION, LEAKAGE, METRICS, RESULTS, SUBSET, Schema

_s, _i32, _i64, _f64, _b = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()


def _schema(name: str, key: str, /, **columns: pa.DataType) -> Schema:
    return Schema(name, tuple(key.split()), pa.schema(list(columns.items())))


def _of(schema: Schema) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in schema.columns}


# status is complete, failed, interrupted, killed, dry run, or missing: a sweep asked for it and no run has it.
# mark: why the run must not be used, or, if it starts with "partial", not beside runs on all tasks; null if there is nothing to
# say. cell: the settings and the data by their content, without the seeds, so runs that share it are repetitions.
# selector is its label (its name and the options that are not its defaults); data_digest names the pairs; pairs were scored;
# scores names the METRICS table; partial says which tasks of the benchmark ("" for all, null where none was asked).
# JSON: config (without what cannot change a result), keys, seconds (of each stage, also of those that were found made) and
# evaluation (what tasks, answers and verdicts hang on; "failed": canonical solutions that did not pass).
RUNS = _schema("RUNS", "run", run=_s, name=_s, group=_s, status=_s, mark=_s, cell=_s, selector=_s, budget=_s, seed=_i64,
               data=_s, data_digest=_s, rows=_i64, pairs=_i64, selected=_i64, scorer=_s, weak=_s, target=_s, train=_s,
               benchmark=_s, partial=_s, scores=_s, started=_s, config=_s, keys=_s, seconds=_s, evaluation=_s,
               error=_s)  # fmt: skip
# As the run's; their `run` is that of RUNS. Several training seeds stand beside each other and, with no train_seed, pooled.
_RESULTS = _schema("RESULTS", "run selector benchmark metric pooled train_seed", **_of(RESULTS))
_COMPARISONS = _schema("COMPARISONS", "run selector against benchmark metric pooled train_seed", **_of(COMPARISONS))
# noise is the planted defect ("clean" where none), and the words of the pair; null where nothing was planted.
SCORES = _schema("METRICS", "scores id", scores=_s, **_of(METRICS), noise=_s, query_words=_i32, answer_words=_i32)
SUBSETS = _schema("SUBSETS", "run rank", run=_s, **_of(SUBSET))
TRAINING = _schema("TRAINING", "run train_seed step", run=_s, train_seed=_i64, step=_i64, epoch=_f64, loss=_f64,
                   learning_rate=_f64, grad_norm=_f64, tokens=_i64, tokens_per_second=_f64, share_of_peak=_f64,
                   memory_bytes=_i64)  # fmt: skip
# What qaq.noise says of a run. kind "all": metric in_data and in_subset, shares of spoiled pairs; a kind of defect: pairs, and
# "auc METRIC"; "selector NAME": in_subset and selected, had the run used that selector at its defaults.
NOISE = _schema("NOISE", "run kind metric", run=_s, kind=_s, metric=_s, value=_f64)
# What a model did with each task; selector is "base" for the target before training. nll_sum (nats) and nll_tokens are of the
# task's canonical solution, the same for all samples.
ANSWERS = _schema("ANSWERS", "run selector train_seed task_id sample", run=_s, selector=_s, train_seed=_i64, task_id=_s,
                  sample=_i32, base_passed=_b, plus_passed=_b, status=_s, compiles=_b, tokens=_i32, capped=_b, nll_sum=_f64,
                  nll_tokens=_i32)  # fmt: skip
# How likely each model finds right answers: the tasks' canonical solutions, and those of the held-out pairs (benchmark "held_out").
# nll_sum in nats. selector as in ANSWERS; there is no number where a text did not fit the model's window.
_LIKELIHOODS = _schema("LIKELIHOODS", "run selector train_seed benchmark id", run=_s, selector=_s, train_seed=_i64, benchmark=_s,
                       id=_s, nll_sum=_f64, tokens=_i32)  # fmt: skip
# How the pool and the selection of a run are made up: a property of the run, as its selection is.
_COMPOSITION = _schema("COMPOSITION", "run facet value", run=_s, **_of(COMPOSITION))
# How far pairs leak a benchmark (XCoder's TLI, a fraction), in part "data" or "selection"; leaking: pairs that its filter would
# drop; note: why there is no number. _LEAKAGE has the single tasks; its texts only where the texts were asked for.
TLI = _schema(
    "TLI", "run benchmark part", run=_s, benchmark=_s, part=_s, tli=_f64, tasks=_i64, pairs=_i64, leaking=_i64, note=_s
)
_LEAKAGE = _schema("LEAKAGE", "run benchmark part task_id", run=_s, **_of(LEAKAGE))
# The texts: for the report only.
PAIRS = _schema("PAIRS", "data_digest id", data_digest=_s, id=_s, row=_i64, query=_s, answer=_s, source=_s, noise=_s)
QUARANTINE = _schema("QUARANTINE", "data_digest row reason record", data_digest=_s, row=_i64, reason=_s, record=_s)

SCHEMAS = {"runs": RUNS, "results": _RESULTS, "comparisons": _COMPARISONS, "metrics": SCORES, "subsets": SUBSETS,
           "training": TRAINING, "noise": NOISE, "answers": ANSWERS, "likelihoods": _LIKELIHOODS, "composition": _COMPOSITION, "tli": TLI,
           "leakage": _LEAKAGE, "pairs": PAIRS, "quarantine": QUARANTINE}  # fmt: skip
TEXTS = ("pairs", "quarantine")
LATER = ("likelihoods", "composition", "tli", "leakage")  # not in the oldest LOGS: nothing of it was measured


@dataclass(frozen=True)
class Logs:
    """One field a table; the texts are None where they were not asked for."""

    runs: pa.Table
    results: pa.Table
    comparisons: pa.Table
    metrics: pa.Table
    subsets: pa.Table
    training: pa.Table
    noise: pa.Table
    answers: pa.Table
    likelihoods: pa.Table
    composition: pa.Table
    tli: pa.Table
    leakage: pa.Table
    pairs: pa.Table | None = None
    quarantine: pa.Table | None = None

    def scored(self, scores: str) -> pa.Table:
        """The METRICS whose digest is `scores`."""
        return self.metrics.filter(pc.equal(self.metrics["scores"], scores))


def conform(**held: Iterable[Mapping[str, Any]] | pa.Table) -> Logs:
    """Logs of these tables, or rows; a table that is not given is empty, and the texts None."""
    given = {name: held.get(name, []) for name in SCHEMAS if name in held or name not in TEXTS}
    return Logs(**{name: _conform(table, SCHEMAS[name]) for name, table in given.items()})


def _conform(table: Iterable[Mapping[str, Any]] | pa.Table, schema: Schema) -> pa.Table:
    """As tables.conform, sorted; of a key only the first column may not be null."""
    table = tables.shape(table, schema)
    keys = table.select(list(schema.key))
    if keys.column(0).null_count or len(keys.group_by(list(schema.key)).aggregate([])) != len(keys):
        raise ValueError(f"{schema.name}: key {schema.key} is null or repeats")
    return table.sort_by([(name, "ascending") for name in schema.key]).combine_chunks()


def read(folder: Path) -> Logs:
    """What `write` wrote."""
    files = {name: folder / f"{name}.parquet" for name in SCHEMAS}
    held = {name: file for name, file in files.items() if name not in (*TEXTS, *LATER) or file.is_file()}
    return conform(**{name: tables.read(file) for name, file in held.items()})


def write(logs: Logs, folder: Path) -> None:
    """A Parquet file a table; one that `logs` lack is taken away."""
    folder.mkdir(parents=True, exist_ok=True)
    for field in fields(Logs):
        file, table = folder / f"{field.name}.parquet", getattr(logs, field.name)
        if table is None:
            file.unlink(missing_ok=True)
        else:
            tables.write(table, file)


def counts(run: Mapping[str, Any]) -> bool:
    """Whether the numbers of a row of RUNS may be used: complete and without a mark, unless that names a part of the benchmark."""
    partly = bool(run["partial"]) and (run["mark"] or "").startswith("partial")
    return run["status"] == "complete" and (run["mark"] is None or partly)


def only(logs: Logs, names: Iterable[str]) -> Logs:
    """The same with the tables that are not named left empty: who gets it can have looked at no other."""
    kept = set(names)
    tables = {field.name: getattr(logs, field.name) for field in fields(Logs) if field.name not in kept}
    return replace(logs, **{name: table.slice(0, 0) for name, table in tables.items() if table is not None})
