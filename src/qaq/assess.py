"""CHECKPOINTS -> RESULTS and COMPARISONS: every tuned model and its base on the benchmark, and how they differ.

What a model said and what came of it are kept apart, so that grading again does not generate again. The tables of each model
lie in the run's directory: verdicts_NAME, solutions_NAME, likelihood_NAME and held_out_NAME.parquet.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from qaq import evaluate, reading, score
from qaq.evaluate import Measured
from qaq.job import Job
from qaq.store import Entry, fingerprint
from qaq.tables import COMPARISONS, RESULTS, VERDICTS, conform, digest_of, read, write

# Raised when what a part makes changes; part of every key.
VERSIONS = {"solutions": 2, "truth": 1, "verdicts": 2, "calibration": 2, "held_out": 1}


def assess(job: Job, checkpoints: dict[int, Entry], held_out: Path | None) -> None:
    """The benchmark for the tuned models and, once per model, for the base they came from; and what they make of the pairs
    that were set aside (a file of EXAMPLES)."""
    label, settings = job.cfg["selector"]["name"], job.cfg["evaluate"]
    job.result["evaluated"] = []
    job.result["partial"] = evaluate.partial(settings)
    job.result["evaluation"] = {"tasks": {**evaluate.identity(settings), "asked": evaluate.asking_identity(settings)},
                                "grading": evaluate.grading_identity(settings)}  # fmt: skip
    with job.tracker.stage("evaluate") as records:
        truth, base = _truth(job) if settings["samples"] else None, []
        if settings["baseline"]:
            model = job.model("target", job.cfg["target"])
            base = [_measure(job, truth, held_out, "evaluate_base", model.directory, model.key, "base", None)]
        tuned = {}
        for seed, checkpoint in checkpoints.items():
            name = "evaluate" if len(checkpoints) == 1 else f"evaluate_seed{seed}"
            tuned[seed] = _measure(
                job, truth, held_out, name, lambda made=checkpoint: made.path / "model", checkpoint.key, label, seed
            )
        if truth:
            job.result["calibration"] = _calibrate(job, truth)
        job.result |= _judged(job, base, tuned)
        records.log_all(job.result["values"] + job.result["comparisons"])


def _judged(job: Job, base: list[Measured], tuned: dict[int, Measured]) -> dict[str, Any]:
    """RESULTS of every model, and of several training seeds pooled; COMPARISONS of each with the base."""
    benchmark, label = job.cfg["evaluate"]["benchmark"], job.cfg["selector"]["name"]
    groups = [(seed, [one]) for seed, one in tuned.items()]
    if len(tuned) > 1:
        groups.append((None, list(tuned.values())))
    values = [_result_row(job, "base", None, 1, row) for row in (evaluate.results(benchmark, base) if base else [])]
    comparisons = []
    for seed, models in groups:
        values += [_result_row(job, label, seed, len(models), row) for row in evaluate.results(benchmark, models)]
        compared = evaluate.comparison(benchmark, models, base) if base else []
        comparisons += [{**_of_model(job, label, seed, len(models), row), "against": "base"} for row in compared]
    return {
        "values": conform(values, RESULTS).to_pylist(),
        "comparisons": conform(comparisons, COMPARISONS).to_pylist(),
    }


def _measure(job: Job, truth: Entry | None, held_out: Path | None, stage: str, model: Callable[[], Path], key: str,
             label: str, seed: int | None) -> Measured:  # fmt: skip
    """The tables of one model, trained with `seed`. Without `truth` nothing is asked and nothing graded."""
    settings = job.cfg["evaluate"]
    what, keyed = evaluate.asking_identity(settings), {"model": key}
    # The replies of a generation that was stopped; none with other settings may meet them.
    work = job.store.root / "replies" / fingerprint({"version": VERSIONS["solutions"], **what, **keyed})[:24]

    def generate(out: Path) -> None:
        request = {"model": str(model()), "settings": settings}
        ask = {**request, "shards": str(work)}
        if truth:
            job.workers("qaq.evaluate.generate", ask, evaluate.left(work, settings))
        else:  # the canonical solutions in the model's own words, and no replies
            job.worker("qaq.evaluate.generate", ask)
        evaluate.collect(work, settings, out)
        _score_canonical(job, request, label, out)

    def grade(out: Path) -> None:
        solutions = read(said.path / "solutions.parquet")
        verdicts = evaluate.grade(evaluate.tasks(settings), solutions, settings, truth.path)
        write(evaluate.with_syntax(verdicts, solutions, settings), out / "verdicts.parquet")

    # The canonical solutions' likelihood lies beside the replies.
    said = job.store.entry("solutions", VERSIONS["solutions"], {**what, "reading": reading.VERSIONS}, keyed, generate)
    shutil.rmtree(work, ignore_errors=True)
    job.keep(f"{stage}_solutions", said)
    verdicts = VERDICTS.columns.empty_table()
    if truth:
        inputs = {"solutions": said.key, "truth": truth.key}
        entry = job.store.entry("verdicts", VERSIONS["verdicts"], _grading(settings), inputs, grade)
        verdicts = read(job.keep(stage, entry).path / "verdicts.parquet")
    measured = Measured(verdicts, read(said.path / "solutions.parquet"), read(said.path / "likelihood.parquet"),
                        _read_held_out(job, held_out, stage, model, key) if held_out else None)  # fmt: skip
    name = f"{label}{stage.removeprefix('evaluate').removeprefix('_base')}"
    for table, rows in measured._asdict().items():
        if rows is not None:
            job.write(f"{table}_{name}", rows)
    job.result["evaluated"].append({"selector": label, "train_seed": seed, "name": name})
    return measured


def _score_canonical(job: Job, request: dict[str, Any], label: str, out: Path) -> None:
    """How likely the model finds the benchmark's own solutions."""
    read_by = {"model": request["model"], "name": label, "settings": reading.right_answers(job)}
    texts = out / "canonical.parquet"
    write(
        _likelihood(job, read_by, "continuation", {"continuations": str(texts)}, texts, out), out / "likelihood.parquet"
    )


def _read_held_out(job: Job, pairs: Path, stage: str, model: Callable[[], Path], key: str) -> pa.Table:
    """LIKELIHOOD of the held-out answers, given their queries: exactly their tokens, in the conversation that training uses."""
    how = reading.right_answers(job)

    def build(out: Path) -> None:
        read_by = {"model": str(model()), "name": "held out", "settings": how}
        found = _likelihood(job, read_by, "forward", {"examples": str(pairs)}, pairs, out)
        write(found.filter(pc.equal(found["target"], "answer")), out / "likelihood.parquet")

    determining = {**{name: how[name] for name in ("protocol", "system_prompt", "dtype")}, "reading": reading.VERSIONS}
    made = job.store.entry(
        "held_out", VERSIONS["held_out"], determining, {"model": key, "pairs": digest_of(pairs)}, build
    )
    return read(job.keep(f"{stage}_held_out", made).path / "likelihood.parquet")


def _likelihood(job: Job, read_by: dict[str, Any], name: str, texts: dict[str, str], ids: Path, out: Path) -> pa.Table:
    """LIKELIHOOD of one pass over `texts`, by the scorer's engine; `ids`: the Parquet file that lists them."""
    job.worker("qaq.score.tokenise", {**read_by, **texts, "out": str(out)})
    job.worker("qaq.score", {**read_by, "passes": [name], "texts": str(out), "shards": str(out / "shards")})
    return score.likelihood(out / "shards", [name], read(ids, ["id"])["id"].to_pylist(), read_by["name"])


def _truth(job: Job) -> Entry:
    """What the canonical solutions return, once for a benchmark's data."""
    settings, version = job.cfg["evaluate"], VERSIONS["truth"]
    what = {**evaluate.identity(settings), **evaluate.truth_identity()}
    made = job.store.entry(
        "truth", version, what, {}, lambda out: evaluate.ground_truth(evaluate.tasks(settings), settings, out)
    )
    return job.keep("truth", made)


def _calibrate(job: Job, truth: Entry) -> dict[str, Any]:
    """The canonical solutions, graded as the models' are."""
    settings = job.cfg["evaluate"]

    def build(out: Path) -> None:
        found = evaluate.calibrate(evaluate.tasks(settings), settings, truth.path)
        (out / "calibration.json").write_text(json.dumps(found) + "\n")

    made = job.store.entry("calibration", VERSIONS["calibration"], _grading(settings), {"truth": truth.key}, build)
    found = json.loads((job.keep("calibrate", made).path / "calibration.json").read_text())
    evaluate.warn_of_calibration(found)
    return found


def _grading(settings: dict[str, Any]) -> dict[str, Any]:
    return {**evaluate.identity(settings), **evaluate.grading_identity(settings)}


def _result_row(job: Job, label: str, seed: int | None, pooled: int, row: dict[str, Any]) -> dict[str, Any]:
    names = [
        job.cfg["scorer"]["model"]["name"],
        (job.cfg["scorer"]["weak"] or {}).get("name"),
        job.cfg["target"]["name"],
    ]
    return {**_of_model(job, label, seed, pooled, row), "budget": str(job.cfg["budget"]), "seed": job.cfg["seed"],
            "models": " ".join(filter(None, names))}  # fmt: skip


def _of_model(job: Job, label: str, seed: int | None, pooled: int, row: dict[str, Any]) -> dict[str, Any]:
    """`row` with which model it is of, and its benchmark marked where evaluate.limit leaves tasks out."""
    part = "" if row["benchmark"] == evaluate.HELD_OUT else job.result["partial"]
    return {**row, "benchmark": row["benchmark"] + part, "run": _run_name(job, label, seed, pooled),
            "selector": label, "train_seed": seed, "pooled": pooled}  # fmt: skip


def _run_name(job: Job, label: str, seed: int | None, pooled: int) -> str:
    seeds, run = job.cfg["train"]["seeds"], f"{job.tracker.group}/{job.dir.name}"
    if label == "base" or len(seeds) == 1:
        return run
    return f"{run} training seeds {seeds} pooled" if pooled > 1 else f"{run} training seed {seed}"
