"""EXAMPLES -> the quality signals that the selector asks for: each a table of its own in the store, joined to METRICS by id.

A pair is observed once under the same settings, whatever data set it comes in (`qaq.shards`).
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qaq import data, evaluate, sandbox, select, signals
from qaq.config import identity
from qaq.job import Job, Model
from qaq.progress import Progress
from qaq.shards import Shards
from qaq.signals.settings import SCHEMAS
from qaq.store import Entry, fingerprint
from qaq.tables import SIGNALS, digest_of, digest_of_ids, read, write

# Of what a model is asked: models and query sets count by their contents, and how tests are run is no part of writing them.
_NO_PART = ("model", "queries", "seconds", "memory_mb", "require_isolation")
VERSIONS = {"turns": 1, "query_length": 1}  # raised when what is made changes; those of the others lie in their files


def ready(job: Job) -> None:
    """What scoring should not have to end to tell: ValueError if this machine's isolation is too weak for the unit tests, if the
    query set of RDS+ cannot be read, or if it holds tasks of the benchmark that is then evaluated, which is leakage."""
    asked = select.signals(job.cfg["selector"]) if "select" in job.cfg["stages"] else ()
    if "quality" in asked and not job.cfg["launch"]["dry_run"]:
        sandbox.require(job.cfg["signals"]["unit_tests"]["require_isolation"])
    if "rds" in asked:
        _hold_apart(job, _query_set(job))


def _hold_apart(job: Job, query_set: Entry) -> None:
    if "evaluate" not in job.cfg["stages"]:
        return
    items, asked = read(query_set.path / "examples.parquet", ["row", "query"]), job.cfg["evaluate"]
    tests = [(task.task_id, task.prompt) for task in evaluate.tasks({**asked, "limit": None})]
    if found := signals.module("rds").held_out(items["query"].to_pylist(), tests):
        named = ", ".join(f"record {items['row'][item]} is {task}" for item, task in found[:5])
        raise ValueError(f"signals.rds.queries: {len(found)} of {len(items)} records are tasks of {asked['benchmark']}, which is then "
                         f"evaluated ({named}): take them out, or evaluate on another benchmark")  # fmt: skip


def observed(job: Job, examples: Path, metrics: pa.Table) -> pa.Table:
    """METRICS with the columns of the signals that the selector asks for; result["signals"] says what came of each."""
    job.result["signals"] = {}
    for name in select.signals(job.cfg["selector"]):
        table = read(_MAKERS[name](job, examples).path / f"{name}.parquet")
        job.result["signals"][name] = _counts(table)
        rows = pc.index_in(metrics["id"], table["id"].combine_chunks())
        for column in SIGNALS[name]:
            metrics = metrics.append_column(column, table[column].take(rows))
    return metrics


def _counts(table: pa.Table) -> dict[str, int]:
    """Pairs; those whose text was cut to fit the model; how many answers could be tested, and in how many tests."""
    found = {"pairs": table.num_rows}
    if "truncated" in table.column_names:
        found["truncated"] = pc.sum(table["truncated"]).as_py() or 0
    if "quality_status" in table.column_names:
        found |= {row["values"]: row["counts"] for row in pc.value_counts(table["quality_status"]).to_pylist()}
        found |= {
            f"tests {name}": pc.sum(table[column]).as_py() or 0
            for name, column in (("written", "tests"), ("passed", "passed"))
        }
    return found


def _complexity(job: Job, examples: Path) -> Entry:
    if job.cfg["data"]["turns"] != "every":
        return _by_model(job, "complexity", examples)
    settings = job.cfg["data"]
    # A pair's id does not tell where its turns begin, so no other data meets these.
    source = {"data": job.result["keys"]["data"]}
    turns = job.store.entry("turns", VERSIONS["turns"], {}, source,
                            lambda out: data.write_turns(examples, settings, out / "pairs.parquet"))  # fmt: skip
    return _by_model(job, "complexity", turns.path / "pairs.parquet", {"turns": turns.key})


def _rds(job: Job, examples: Path) -> Entry:
    items = _query_set(job)
    numbers = read(items.path / "examples.parquet", ["id"]).num_rows * read(examples, ["id"]).num_rows
    if numbers >= 2**31:
        raise ValueError(f"RDS+ would compare each pair with each record of the query set, {numbers:,} numbers, and a table holds 2**31: "
                         "give a smaller signals.rds.queries, or fewer pairs (data.limit)")  # fmt: skip
    return _by_model(job, "rds", examples, {"items": items.key}, {"items": str(items.path / "examples.parquet")})


def _query_set(job: Job) -> Entry:
    """The items RDS+ compares with, read as any data is: EXAMPLES."""
    settings = job.cfg["signals"]["rds"]["queries"]
    try:
        return job.store.entry(
            "examples", data.VERSION, data.identity(settings), {}, lambda out: data.load(settings, out)
        )
    except ValueError as error:  # it speaks of data.path and the like
        raise ValueError(f"the query set of RDS+, signals.rds.queries in place of data: {error}") from error


def _quality(job: Job, examples: Path) -> Entry:
    """The answers' results in the tests that a model wrote for them: quality.parquet, and test by test test_verdicts.parquet."""
    module, written = signals.module("quality"), _by_model(job, "unit_tests", examples)
    settings = job.cfg["signals"]["unit_tests"]

    how = module.identity(settings)
    held = Shards(
        _folder(job, "quality", {**how, "unit_tests": _asked(job, "unit_tests")[1].name}), module.HELD, "quality scores"
    )

    def build(out: Path) -> None:
        tests, answers = read(written.path / "unit_tests.parquet", ["id", "tests"]), read(examples, ["id", "answer"])
        ids = answers["id"].to_numpy().astype(str)
        tests = tests.take(pc.index_in(answers["id"].combine_chunks(), tests["id"].combine_chunks()))
        left = held.missing(ids)
        pieces = [left[start : start + module.AT_ONCE] for start in range(0, len(left), module.AT_ONCE)]

        def judged(rows: np.ndarray) -> pa.Table:
            return module.held(*module.quality(tests.take(rows), answers.take(rows), settings, progress.add))

        with Progress("quality", len(left), "pairs") as progress:
            held.take(ids, pieces, judged)
        quality, verdicts = module.told(held.of(answers["id"].combine_chunks()))
        write(quality, out / "quality.parquet")
        write(verdicts, out / "test_verdicts.parquet")

    return _keep(job, "quality", job.store.entry("quality", module.VERSION, how, {"unit_tests": written.key}, build))


def _query_length(job: Job, examples: Path) -> Entry:
    def build(out: Path) -> None:
        table = read(examples, ["id", "query"])
        words = [len(query.split()) for query in table["query"].to_pylist()]
        write(pa.table({"id": table["id"], "query_words": pa.array(words, pa.int32())}), out / "query_length.parquet")

    entry = job.store.entry("query_length", VERSIONS["query_length"], {}, {"examples": digest_of(examples)}, build)
    return _keep(job, "query_length", entry)


def versions(names: tuple[str, ...]) -> dict[str, int]:
    """Of what makes the signals `names`."""
    made = {*names, *signals.by_model(names)}
    return {name: VERSIONS[name] if name in VERSIONS else signals.module(name).VERSION for name in sorted(made)}


def _by_model(job: Job, name: str, pairs: Path, more: dict[str, str] | None = None,
              files: dict[str, str] | None = None) -> Entry:  # fmt: skip
    """What a model says of `pairs`, shared between the workers; `more` determines it too, `files` are for the worker."""
    module, settings, inputs = signals.module(name), job.cfg["signals"][name], more or {}
    how, folder, model = _asked(job, name, inputs)
    ids = read(pairs, ["id"])["id"].to_pylist()

    def build(out: Path) -> None:
        held = Shards(folder, module.SCHEMA, module.WHAT)
        if len(held.missing(ids)):
            request = {
                "signal": name,
                "settings": settings,
                "pairs": str(pairs),
                "shards": str(folder),
                **(files or {}),
            }
            request |= {
                "model": str(model.directory()),
                "characters_per_shard": job.cfg["signals"]["characters_per_shard"],
            }
            job.workers("qaq.signals", request, lambda: len(held.missing(ids)))
        write(held.of(pa.array(ids)), out / f"{name}.parquet")

    inputs_of = {**inputs, "model": model.key, "examples": digest_of_ids(ids)}
    return _keep(job, name, job.store.entry(name, module.VERSION, how, inputs_of, build))


def _asked(job: Job, name: str, inputs: dict[str, str] | None = None) -> tuple[dict[str, Any], Path, Model]:
    """What a signal's model is asked, as far as it determines the answers, the folder of those, and the model."""
    settings = job.cfg["signals"][name]
    model = job.model(name, settings["model"], signals.talks(name, settings))
    how = {key: value for key, value in identity(settings, SCHEMAS[name]).items() if key not in _NO_PART}
    return how, _folder(job, name, {**how, **(inputs or {}), "model": model.key}), model


def _folder(job: Job, name: str, what: dict[str, Any]) -> Path:
    """Where a signal's shards lie, whatever data set the pairs come in."""
    return job.store.root / "signals" / name / fingerprint({"version": signals.module(name).VERSION, **what})[:24]


def _keep(job: Job, name: str, entry: Entry) -> Entry:
    """A signal's tables in the run's directory: links, since embeddings are large."""
    for file in entry.path.glob("*.parquet"):
        link = job.dir / file.name
        link.unlink(missing_ok=True)
        os.symlink(file, link)
    return job.keep(name, entry)


_MAKERS: dict[str, Callable[[Job, Path], Entry]] = {
    "complexity": _complexity,
    "quality": _quality,
    "embedding": lambda job, examples: _by_model(job, "embedding", examples),
    "query_length": _query_length,
    "scar": lambda job, examples: _by_model(job, "scar", examples),
    "rds": _rds,
}
