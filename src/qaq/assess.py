"""CHECKPOINTS -> RESULTS and COMPARISONS: every tuned model and its base on the benchmark, and how they differ.

What a model said and what came of it are kept apart, so that grading again does not generate again. The tables of each model
lie in the run's directory: verdicts_NAME, solutions_NAME and likelihood_NAME.parquet.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qaq import evaluate, score
from qaq.evaluate import Measured
from qaq.job import Job
from qaq.store import Entry, fingerprint
from qaq.tables import COMPARISONS, RESULTS, conform, read, write

# Raised when what a part makes changes; part of every key.
VERSIONS = {"solutions": 2, "truth": 1, "verdicts": 2, "calibration": 2}


def assess(job: Job, checkpoints: dict[int, Entry]) -> None:
    """The benchmark for the tuned models and, once per model, for the base they came from."""
    label, settings = job.cfg["selector"]["name"], job.cfg["evaluate"]
    job.result["evaluated"] = []
    job.result["partial"] = evaluate.partial(settings)
    job.result["evaluation"] = {"tasks": {**evaluate.identity(settings), "asked": evaluate.asking_identity(settings)},
                                "grading": evaluate.grading_identity(settings)}  # fmt: skip
    with job.tracker.stage("evaluate") as records:
        truth, base = _truth(job), []
        if settings["baseline"]:
            model = job.model("target", job.cfg["target"])
            base = [_measure(job, truth, "evaluate_base", model.directory, model.key, "base", None)]
        tuned = {}
        for seed, checkpoint in checkpoints.items():
            name = "evaluate" if len(checkpoints) == 1 else f"evaluate_seed{seed}"
            tuned[seed] = _measure(
                job, truth, name, lambda made=checkpoint: made.path / "model", checkpoint.key, label, seed
            )
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


def _measure(job: Job, truth: Entry, stage: str, model: Callable[[], Path], key: str, label: str,
             seed: int | None) -> Measured:  # fmt: skip
    """The tables of one model, trained with `seed`."""
    settings = job.cfg["evaluate"]
    what, keyed = evaluate.asking_identity(settings), {"model": key}
    # The replies of a generation that was stopped; none with other settings may meet them.
    work = job.store.root / "replies" / fingerprint({"version": VERSIONS["solutions"], **what, **keyed})[:24]

    def generate(out: Path) -> None:
        request = {"model": str(model()), "settings": settings}
        job.workers("qaq.evaluate.generate", {**request, "shards": str(work)}, evaluate.left(work, settings))
        evaluate.collect(work, settings, out)
        _score_canonical(job, request, label, out)

    def grade(out: Path) -> None:
        solutions = read(said.path / "solutions.parquet")
        verdicts = evaluate.grade(evaluate.tasks(settings), solutions, settings, truth.path)
        write(evaluate.with_syntax(verdicts, solutions, settings), out / "verdicts.parquet")

    said = job.store.entry("solutions", VERSIONS["solutions"], what, keyed, generate)
    shutil.rmtree(work, ignore_errors=True)
    job.keep(f"{stage}_solutions", said)
    entry = job.store.entry(
        "verdicts", VERSIONS["verdicts"], _grading(settings), {"solutions": said.key, "truth": truth.key}, grade
    )
    job.keep(stage, entry)
    measured = Measured(read(entry.path / "verdicts.parquet"), read(said.path / "solutions.parquet"),
                        read(said.path / "likelihood.parquet"))  # fmt: skip
    name = f"{label}{stage.removeprefix('evaluate').removeprefix('_base')}"
    for table, rows in measured._asdict().items():
        job.write(f"{table}_{name}", rows)
    job.result["evaluated"].append({"selector": label, "train_seed": seed, "name": name})
    return measured


def _score_canonical(job: Job, request: dict[str, Any], label: str, out: Path) -> None:
    """How likely the model finds the benchmark's own solutions: read by the scorer's engine, in evaluate's dtype."""
    knobs = {name: job.cfg["scorer"][name] for name in ("tokens_per_batch", "tokens_per_shard")}
    ask = {**request, "name": label, "settings": {"dtype": request["settings"]["dtype"], "max_length": None, **knobs}}
    job.worker("qaq.score.tokenise", {**ask, "continuations": str(out / "canonical.parquet"), "out": str(out)})
    job.worker("qaq.score", {**ask, "passes": ["continuation"], "texts": str(out), "shards": str(out / "shards")})
    ids = read(out / "canonical.parquet", ["id"])["id"].to_pylist()
    write(score.likelihood(out / "shards", ["continuation"], ids, label), out / "likelihood.parquet")


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
    return {**row, "benchmark": row["benchmark"] + job.result["partial"], "run": _run_name(job, label, seed, pooled),
            "selector": label, "train_seed": seed, "pooled": pooled}  # fmt: skip


def _run_name(job: Job, label: str, seed: int | None, pooled: int) -> str:
    seeds, run = job.cfg["train"]["seeds"], f"{job.tracker.group}/{job.dir.name}"
    if label == "base" or len(seeds) == 1:
        return run
    return f"{run} training seeds {seeds} pooled" if pooled > 1 else f"{run} training seed {seed}"
