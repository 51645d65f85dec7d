"""What the pairs give away of the benchmarks: evaluate's tasks and data's leakage, met in the store once for all jobs.

A task's text is its `prompt` as the benchmark's file has it, the key XCoder compares and what a model is asked. For MBPP+ that is
a docstring, its quotes, sentence and assertion included: of the sentence alone "Write a function to" and the mark before it
would be a quarter, and every query that opens so would leak.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from qaq import evaluate
from qaq.data.leakage import TEXTS, VERSION, Tests, among, find, leak
from qaq.evaluate import benchmark
from qaq.export import gather
from qaq.job import Job
from qaq.tables import LEAKAGE, conform, digest_of, read, write

KNOWN = ("humaneval", "mbpp")
_WORST = 20  # tasks of each benchmark and part whose texts are shown


def check(settings: dict[str, Any]) -> None:
    """ValueError for a benchmark nobody knows, one named twice, or a file that is not there."""
    asked = settings["benchmarks"]
    if unknown := [name for name in asked if name not in KNOWN]:
        raise ValueError(f"leakage.benchmarks holds {unknown[0]!r}; known: {', '.join(KNOWN)}")
    if len(set(asked)) < len(asked):
        raise ValueError(f"leakage.benchmarks={asked}: name each once")
    for name in KNOWN:
        benchmark.check(_asked(settings, name), f"leakage.{name}")


def wanted(job: Job) -> Tests | None:
    """The tasks that data.decontaminate holds the pairs against, fetched where they are not at hand; None where it is not set.

    ValueError, with the way out, for a benchmark that cannot be had, or none.
    """
    settings, threshold = job.cfg["leakage"], job.cfg["data"]["decontaminate"]
    if not threshold:
        return None
    if not settings["benchmarks"]:
        raise ValueError(f"data.decontaminate={threshold} with leakage.benchmarks=[]: name one of {', '.join(KNOWN)}")
    ready = {}
    for name in settings["benchmarks"]:
        try:
            ready[name] = _at_hand(job, name) or evaluate.ready(_asked(settings, name), _cache(job), f"leakage.{name}")
        except ValueError as error:
            raise ValueError(f"data.decontaminate={threshold} needs {name}: {error}; or leave it out of "
                             f"leakage.benchmarks={settings['benchmarks']}") from error  # fmt: skip
    return _tests(settings, ready)


def measure(job: Job, examples: Path, data: pa.Table, selection: pa.Table) -> dict[str, float]:
    """Write leakage.parquet, leaks.parquet (the worst, with both texts) and result["leakage"] of the pairs of `data` and of the `selection` among them (tables with an id);
    the TLIs by name."""
    rows, tasks = [], []
    for name in job.cfg["leakage"]["benchmarks"]:
        asked = _at_hand(job, name)
        tests = asked and _tests(job.cfg["leakage"], {name: asked})
        grams = tests and _found(job, name, examples, tests)
        for part, pairs in (("data", data), ("selection", selection)):
            where, told = {"benchmark": name, "part": part}, {"tli": None, "tasks": None, "leaking": None}
            if tests:
                told, worst = _part(job, examples, tests, among(grams, pairs["id"]))
                tasks += [{**where, **task} for task in worst]
            rows.append({**where, **told, "pairs": pairs.num_rows, "note": None if tests else _missing(name)})
    found = conform(tasks, LEAKAGE)
    job.write("leakage", conform(found.drop(["query", "test"]), LEAKAGE))
    write(
        found.filter(pc.is_valid(found["test"])), job.dir / "leaks.parquet"
    )  # the pairs' own words: see tracking.TEXTS
    job.result["leakage"] = rows
    return {f"tli_{row['benchmark']}_{row['part']}": row["tli"] for row in rows if row["tasks"]}


def _found(job: Job, name: str, examples: Path, tests: Tests) -> pa.Table:
    """The grams of the tests that each pair holds: looked for once, whatever is then selected."""
    inputs = {"examples": digest_of(examples), "tests": tests.digest}
    made = job.store.entry("leakage", VERSION, {"text": tests.text}, inputs,
                           lambda out: write(find(examples, tests), out / "found.parquet"))  # fmt: skip
    return read(job.keep(f"leakage_{name}", made).path / "found.parquet")


def _part(job: Job, examples: Path, tests: Tests,
          grams: pa.Table) -> tuple[dict[str, Any], list[dict[str, Any]]]:  # fmt: skip
    """What the pairs with these `grams` give away: a summary, and a row for each task, the worst with both texts."""
    worst = leak(grams, tests.index)
    ids = [grams["id"][row].as_py() if row >= 0 else None for row in worst.pair.tolist()]
    rows = [{"task_id": test["task_id"], "similarity": similarity, "id": id, "test": test["text"]}
            for test, similarity, id in zip(tests.table.to_pylist(), worst.of_test.tolist(), ids, strict=True)]  # fmt: skip
    shown = sorted((row for row in rows if row["id"]), key=lambda row: -row["similarity"])[:_WORST]
    columns = TEXTS[tests.text]
    texts = gather(examples, list(dict.fromkeys(row["id"] for row in shown)), ["id", *columns], job.dir)
    compared = {row["id"]: " ".join(row[name] for name in columns) for row in texts}
    of_shown = {row["task_id"]: {"query": compared[row["id"]]} for row in shown}
    tasks = [{**row, **of_shown.get(row["task_id"], {"test": None})} for row in rows]
    leaking = int((worst.of_pair >= job.cfg["leakage"]["threshold"]).sum())
    return {"tli": float(worst.of_test.mean()), "tasks": len(rows), "leaking": leaking}, tasks


def _tests(settings: dict[str, Any], ready: dict[str, dict[str, Any]]) -> Tests:
    rows = [{"benchmark": name, "task_id": task, "text": text}
            for name, asked in ready.items() for task, text in evaluate.prompts(asked)]  # fmt: skip
    return Tests(pa.Table.from_pylist(rows), settings["text"])


def _asked(settings: dict[str, Any], name: str) -> dict[str, Any]:
    return {"benchmark": name, "path": settings[name], "limit": None}


def _at_hand(job: Job, name: str) -> dict[str, Any] | None:
    """The benchmark's file if it takes no download: named here, named for the evaluation, or fetched by an earlier run."""
    asked, other = _asked(job.cfg["leakage"], name), job.cfg["evaluate"]
    if not asked["path"] and name == "mbpp" and other["benchmark"] in ("mbpp", "mbpp_plus"):
        asked["path"] = other["path"]
    return evaluate.at_hand(asked, _cache(job))


def _cache(job: Job) -> Path:
    return job.store.root / "benchmarks"


def _missing(name: str) -> str:
    return f"{name}: not at hand: evaluate={name} fetches it once, or name the file with leakage.{name}=FILE"
