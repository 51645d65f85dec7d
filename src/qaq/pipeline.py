"""The method on one page: load, score, select, train, evaluate; `estimate` says beforehand what that would cost.

Each stage is a function of its settings and its input tables; the store keeps what it made under their digest, so a
sweep scores once and two selectors that keep the same pairs share one training run. This process never loads torch:
what needs a model runs as a worker (`qaq.launch`).
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from qaq import card, data, estimate, evaluate, launch, noise, reading, report, score, select
from qaq.config import SECTIONS, TrainConfig, identity, pairs_for
from qaq.evaluate import Measured
from qaq.export import export, gather
from qaq.job import Job, blank_result, versions
from qaq.store import Entry, Store, fingerprint, room
from qaq.tables import COMPARISONS, RESULTS, conform, digest_of_ids, read, read_jsonl, write
from qaq.tracking import Stage, Tracker
from qaq.train.recipe import recipe

log = logging.getLogger(__name__)

# Raised when a stage's code changes what it makes; part of every key.
VERSIONS = {"examples": data.VERSION, **reading.VERSIONS, "checkpoint": 3, "solutions": 1, "verdicts": 2,
            "calibration": 1}  # fmt: skip


def run(cfg: dict[str, Any], run_dir: Path, group: str, overrides: list[str]) -> dict[str, Any]:
    """All stages of `cfg["stages"]`; returns what result.json holds. A failure is recorded there and raised again."""
    with room(run_dir, "this run's files"):
        return _run(cfg, run_dir, group, overrides)


def _run(cfg: dict[str, Any], run_dir: Path, group: str, overrides: list[str]) -> dict[str, Any]:
    job = Job(cfg, run_dir, Store(Path(cfg["store_dir"]), _facts(cfg)), Tracker(run_dir, cfg, group))
    job.result = {**blank_result(cfg), "overrides": overrides}
    job.save()
    start = time.monotonic()
    try:
        _stages(job)
        job.result["status"] = "dry run" if cfg["launch"]["dry_run"] else "complete"
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt)
        job.result |= {"status": "interrupted" if stopped else "failed", "error": str(error) or type(error).__name__}
        raise
    finally:
        job.result["seconds"]["total"] = round(time.monotonic() - start, 3)
        job.save()
    return job.result


def _facts(cfg: dict[str, Any]) -> dict[str, Any]:
    """What is recorded beside a result and is no part of its key: libraries, and knobs that may not change it."""
    kept = {name: identity(cfg[name], schema) for name, schema in SECTIONS.items()}
    knobs = {f"{n}.{k}": v for n in SECTIONS for k, v in cfg[n].items() if k not in kept[n]}
    return {"versions": versions(), "knobs": knobs}


def _stages(job: Job) -> None:
    wanted = job.cfg["stages"]
    examples = load(job)
    if "estimate" in wanted:
        estimate.run(job, examples)
    if "score" not in wanted:
        return
    if job.cfg["launch"]["dry_run"]:
        show_scoring(job, examples)
        if "train" in wanted:
            show_training(job, examples)
        return
    metrics = score_pairs(job, examples)
    if "select" not in wanted:
        return
    subset = select_pairs(job, examples, metrics)
    if "train" not in wanted:
        return
    checkpoints = fine_tune(job, examples, subset, metrics.num_rows)
    if "evaluate" in wanted:
        assess(job, checkpoints)


def load(job: Job) -> Path:
    """Source -> EXAMPLES and quarantine; returns the Parquet file of EXAMPLES."""
    settings = job.cfg["data"]
    with job.tracker.stage("load") as records:
        what = data.identity(settings)  # reads the whole source, so once
        job.result["keys"]["data"] = fingerprint(what)
        entry = job.store.entry("examples", VERSIONS["examples"], what, {},
                                lambda out: data.load(settings, out))  # fmt: skip
        job.keep("load", entry)
        counts = json.loads((entry.path / "counts.json").read_text())
        job.result["counts"] |= {"rows": counts["rows"], "kept": counts["kept"], "quarantined": counts["quarantined"]}
        records.log(counts)
    shutil.copyfile(entry.path / "quarantine.jsonl", job.dir / "quarantine.jsonl")
    if counts["system_turn"]:
        log.warning("load: %(system_turn)d records have a system turn; it stays in the record and is not read", counts)
    log.info("load: %(rows)d rows = %(kept)d kept + %(quarantined)d quarantined", counts)
    return entry.path / "examples.parquet"


def show_scoring(job: Job, examples: Path) -> None:
    """Print what scoring would start. The models are prepared and the pairs tokenised, to know what is missing."""
    scorer = job.cfg["scorer"]
    for stage, spec in (("score", scorer["model"]), ("score_weak", scorer["weak"])):
        if spec:
            with suppress(launch.DryRun):
                _likelihood(job, stage, spec, examples)
                print(f"dry run: {spec['name']} has read every pair; nothing would be started")


def show_training(job: Job, examples: Path) -> None:
    """Print what training would start, and what it will need. Which pairs it gets, and so its key, scoring has to tell."""
    pairs = len(read(examples, ["id"]))
    count = pairs_for(job.cfg["budget"], pairs) if select.uses_budget(job.cfg["selector"]) else pairs
    settings = recipe(job.cfg["train"], count / pairs)
    base = job.model("target", job.cfg["target"])
    with suppress(launch.DryRun):
        out, work = (job.store.root / name / "KEY" for name in ("checkpoint", "training"))
        job.ranks("qaq.train", _training(base.directory(), out, work, {**settings, "seed": settings["seeds"][0]}))
    if len(settings["seeds"]) > 1:
        print(f"the same for train.seeds {settings['seeds'][1:]}")
    print(estimate.expected_training(job, examples))


def _training(model: Path, out: Path, work: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The training worker's request."""
    return {
        "model": str(model),
        "rows": str(out / "rows.parquet"),
        "settings": settings,
        "work": str(work),
        "out": str(out),
    }


def score_pairs(job: Job, examples: Path) -> pa.Table:
    """EXAMPLES -> LIKELIHOOD of each scorer -> METRICS; pairs too long for a model's window join the quarantine."""
    scorer = job.cfg["scorer"]
    with job.tracker.stage("score") as records:
        strong = _likelihood(job, "score", scorer["model"], examples)
        weak = _likelihood(job, "score_weak", scorer["weak"], examples) if scorer["weak"] else None
        likelihood = pa.concat_tables([strong] if weak is None else [strong, weak])
        write(likelihood, job.dir / "likelihood.parquet")
        metrics = score.metrics(strong, weak)
        write(metrics, job.dir / "metrics.parquet")
        _quarantine_too_long(job, examples, likelihood)
        records.log(_summary(metrics))
    if not metrics.num_rows:
        raise ValueError("every pair is longer than the scorer's window: see quarantine.jsonl; raise scorer.max_length")
    return metrics


def _likelihood(job: Job, stage: str, spec: dict[str, Any], examples: Path) -> pa.Table:
    """LIKELIHOOD of one scorer. Only if something is missing are the pairs tokenised and the model asked for."""
    scorer, model = job.cfg["scorer"], job.model(stage, spec)
    ids = read(examples, ["id"])["id"].to_pylist()
    what, shards = reading.inputs(digest_of_ids(ids), model), reading.shards(job, model)
    settings = {**reading.how(job, model), "passes": scorer["passes"], "name": spec["name"]}
    asked = ("likelihood", reading.VERSIONS["likelihood"], settings, what)
    left, texts = score.left(shards, scorer["passes"], ids), None
    if not job.store.holds(*asked) and left():
        texts = reading.texts(job, spec, what, examples, model.directory)

    def build(out: Path) -> None:
        if texts:
            ask = {"name": spec["name"], "settings": scorer, "passes": scorer["passes"], "texts": str(texts.path)}
            job.workers("qaq.score", {**ask, "model": str(model.directory()), "shards": str(shards)}, left)
        write(score.likelihood(shards, scorer["passes"], ids, spec["name"]), out / "likelihood.parquet")

    return read(job.keep(stage, job.store.entry(*asked, build)).path / "likelihood.parquet")


def _quarantine_too_long(job: Job, examples: Path, likelihood: pa.Table) -> None:
    over = score.too_long(likelihood)
    rows = gather(examples, [id for id, _ in over], ["id", "row", "record"], job.dir)
    with (job.dir / "quarantine.jsonl").open("a", encoding="utf-8") as out:
        for row, (_, tokens) in zip(rows, over, strict=True):
            reason = (f"longer than the model's window: its longest scored part has {tokens} tokens, its context comes on top"
                      if tokens else "nothing of it is scored under this scorer.protocol")  # fmt: skip
            line = {"row": row["row"], "reason": reason, "record": json.loads(row["record"])}
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
    job.result["counts"]["kept"] -= len(over)
    job.result["counts"]["quarantined"] += len(over)
    if over:
        log.warning("score: %d pairs are longer than the model's window and went to quarantine.jsonl", len(over))


def select_pairs(job: Job, examples: Path, metrics: pa.Table) -> pa.Table:
    """METRICS -> SUBSET, its folder, and, where noise was planted, how much of it the selector let through."""
    options, pairs = job.cfg["selector"], metrics.num_rows
    count = pairs_for(job.cfg["budget"], pairs) if select.uses_budget(options) else pairs
    with job.tracker.stage("select") as records:
        start = time.monotonic()
        subset = select.select(metrics, options, count, job.cfg["seed"])
        job.result["seconds"]["select"] = round(time.monotonic() - start, 3)
        job.result["counts"]["selected"] = subset.num_rows
        write(subset, job.dir / "subset.parquet")
        shutil.rmtree(job.dir / "subset", ignore_errors=True)  # of an earlier run in this directory
        export(examples, subset, card.of_subset(job, metrics.num_rows), job.dir / "subset")
        _link(job.dir / "selected.jsonl", Path("subset/selected.jsonl"))
        if job.cfg["data"]["noise"]:
            labels = read(examples, ["id", "noise"])
            job.result |= noise.grade(metrics, labels, subset, options, count, job.cfg["seed"])
        report.rmi_figure(metrics, subset, job.dir / "rmi.png")
        records.log({"pairs": metrics.num_rows, "selected": subset.num_rows, **job.result.get("noise", {})})
    log.info("select: %s keeps %d of %d pairs", options["name"], subset.num_rows, metrics.num_rows)
    return subset


def fine_tune(job: Job, examples: Path, subset: pa.Table, pairs: int) -> dict[int, Entry]:
    """SUBSET -> a CHECKPOINT for each of train.seeds. Its recipe follows from the subset's share of all `pairs`."""
    chosen = recipe(job.cfg["train"], subset.num_rows / pairs)
    with job.tracker.stage("train") as records:
        return {
            seed: _checkpoint(job, examples, subset, pairs, {**chosen, "seed": seed}, records)
            for seed in chosen["seeds"]
        }


def _checkpoint(job: Job, examples: Path, subset: pa.Table, pairs: int, settings: dict[str, Any],
                records: Stage) -> Entry:  # fmt: skip
    base, seed = job.model("target", job.cfg["target"]), settings["seed"]
    same = {**identity({**settings, "name": None, "seeds": None}, TrainConfig), "seed": seed}
    inputs = {"pairs": digest_of_ids(subset["id"].to_pylist()), "model": base.key}
    # What an interrupted training left; no other training may meet it.
    work = job.store.root / "training" / fingerprint({"version": VERSIONS["checkpoint"], **same, **inputs})[:24]

    def build(out: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        rows = gather(examples, sorted(subset["id"].to_pylist()), ["id", "query", "answer"], out)
        write(pa.Table.from_pylist(list(rows)), out / "rows.parquet")
        job.ranks("qaq.train", _training(base.directory(), out, work, settings))
        card.write_model_card(
            out, job.cfg["target"]["name"], {**card.of_subset(job, pairs), **card.of_recipe(settings)}
        )

    name = "train" if len(job.cfg["train"]["seeds"]) == 1 else f"train_seed{seed}"
    entry = job.keep(name, job.store.entry("checkpoint", VERSIONS["checkpoint"], same, inputs, build))
    shutil.rmtree(work, ignore_errors=True)
    records.log_all({"seed": seed, **line} for line in read_jsonl(entry.path / "training.jsonl"))
    counts = {"seed": seed, **json.loads((entry.path / "counts.json").read_text())}
    job.result["training"].append(counts)
    records.log(counts)
    return entry


def assess(job: Job, checkpoints: dict[int, Entry]) -> None:
    """The benchmark for the tuned models and, once per model, for the base they came from."""
    label = job.cfg["selector"]["name"]
    job.result["evaluated"] = []
    job.result["evaluation"] = {"tasks": evaluate.identity(job.cfg["evaluate"]),
                                "grading": evaluate.grading_identity(job.cfg["evaluate"])}  # fmt: skip
    with job.tracker.stage("evaluate") as records:
        base = []
        if job.cfg["evaluate"]["baseline"]:
            model = job.model("target", job.cfg["target"])
            base = [_measure(job, "evaluate_base", model.directory, model.key, "base", None)]
        tuned = {}
        for seed, checkpoint in checkpoints.items():
            name = "evaluate" if len(checkpoints) == 1 else f"evaluate_seed{seed}"
            tuned[seed] = _measure(job, name, lambda made=checkpoint: made.path / "model", checkpoint.key, label, seed)
        job.result["calibration"] = _calibrate(job)
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
        for row in evaluate.comparison(benchmark, models, base) if base else []:
            row = {**row, "against": "base", "selector": label, "train_seed": seed, "pooled": len(models)}
            comparisons.append({**row, "run": _run_name(job, label, seed, len(models))})
    return {
        "values": conform(values, RESULTS).to_pylist(),
        "comparisons": conform(comparisons, COMPARISONS).to_pylist(),
    }


def _measure(job: Job, stage: str, model: Callable[[], Path], key: str, label: str,
             seed: int | None) -> Measured:  # fmt: skip
    """The tables of one model, trained with `seed`. What it said and what came of it are kept apart: grading again does not generate again."""
    settings = job.cfg["evaluate"]

    def generate(out: Path) -> None:
        request = {"model": str(model()), "settings": settings}
        job.worker("qaq.evaluate.generate", {**request, "out": str(out)})
        _score_canonical(job, request, label, out)

    def grade(out: Path) -> None:
        solutions = read(said.path / "solutions.parquet")
        verdicts = evaluate.grade(evaluate.tasks(settings), solutions, settings)
        write(evaluate.with_syntax(verdicts, solutions, settings), out / "verdicts.parquet")

    what = evaluate.identity(settings)
    said = job.store.entry("solutions", VERSIONS["solutions"], what, {"model": key}, generate)
    job.keep(f"{stage}_solutions", said)
    entry = job.store.entry("verdicts", VERSIONS["verdicts"], _grading(settings), {"solutions": said.key}, grade)
    job.keep(stage, entry)
    measured = Measured(read(entry.path / "verdicts.parquet"), read(said.path / "solutions.parquet"),
                        read(said.path / "likelihood.parquet"))  # fmt: skip
    name = f"{label}{stage.removeprefix('evaluate').removeprefix('_base')}"
    for table, rows in measured._asdict().items():
        write(rows, job.dir / f"{table}_{name}.parquet")
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


def _calibrate(job: Job) -> dict[str, Any]:
    settings = job.cfg["evaluate"]

    def build(out: Path) -> None:
        (out / "calibration.json").write_text(json.dumps(evaluate.calibrate(settings)) + "\n")

    entry = job.keep(
        "calibrate", job.store.entry("calibration", VERSIONS["calibration"], _grading(settings), {}, build)
    )
    return json.loads((entry.path / "calibration.json").read_text())


def _grading(settings: dict[str, Any]) -> dict[str, Any]:
    return {**evaluate.identity(settings), **evaluate.grading_identity(settings)}


def _result_row(job: Job, label: str, seed: int | None, pooled: int, row: dict[str, Any]) -> dict[str, Any]:
    names = [
        job.cfg["scorer"]["model"]["name"],
        (job.cfg["scorer"]["weak"] or {}).get("name"),
        job.cfg["target"]["name"],
    ]
    return {"run": _run_name(job, label, seed, pooled), "selector": label, "budget": str(job.cfg["budget"]),
            "seed": job.cfg["seed"], "train_seed": seed, "models": " ".join(filter(None, names)), "pooled": pooled,
            **row}  # fmt: skip


def _run_name(job: Job, label: str, seed: int | None, pooled: int) -> str:
    seeds, run = job.cfg["train"]["seeds"], f"{job.tracker.group}/{job.dir.name}"
    if label == "base" or len(seeds) == 1:
        return run
    return f"{run} training seeds {seeds} pooled" if pooled > 1 else f"{run} training seed {seed}"


def _summary(metrics: pa.Table) -> dict[str, float]:
    held = [name for name in metrics.column_names[1:] if metrics[name].null_count < metrics.num_rows]
    return {f"mean_{name}": pc.mean(metrics[name]).as_py() for name in held}


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    os.symlink(target, link)
