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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from qaq import (
    assess,
    card,
    composition,
    data,
    estimate,
    evaluate,
    launch,
    leakage,
    noise,
    observe,
    reading,
    report,
    score,
    select,
)
from qaq.config import ESTIMATE, SECTIONS, identity, pairs_for
from qaq.export import export, gather
from qaq.job import Job, blank_result, versions
from qaq.store import Entry, Store, fingerprint, room
from qaq.tables import digest_of_ids, read, read_jsonl, write
from qaq.tracking import Stage, Tracker
from qaq.train.recipe import determining, recipe

log = logging.getLogger(__name__)

# Raised when a stage's code changes what it makes; part of every key.
VERSIONS = {"examples": data.VERSION, **reading.VERSIONS, "checkpoint": 5, "leakage": leakage.VERSION}


def run(
    cfg: dict[str, Any], run_dir: Path, group: str, overrides: list[str], sweep: Sequence[str] = ()
) -> dict[str, Any]:
    """All stages of `cfg["stages"]`; returns what result.json holds. A failure is recorded there and raised again.

    `overrides` are this job's; `sweep` those of the sweep it belongs to, several values and all.
    """
    with room(run_dir, "this run's files"):
        return _run(cfg, run_dir, group, {"overrides": overrides, "sweep": list(sweep)})


def _run(cfg: dict[str, Any], run_dir: Path, group: str, asked: dict[str, list[str]]) -> dict[str, Any]:
    job = Job(cfg, run_dir, Store(Path(cfg["store_dir"]), _facts(cfg)), Tracker(run_dir, cfg, group))
    job.result = {
        **blank_result(cfg, run_dir.name, job.tracker.group),
        **asked,
        "code": {**VERSIONS, **assess.VERSIONS, **observe.versions(select.signals(cfg["selector"]))},
    }
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
        job.end()
    return job.result


def _facts(cfg: dict[str, Any]) -> dict[str, Any]:
    """What is recorded beside a result and is no part of its key: libraries, and knobs that may not change it."""
    kept = {name: identity(cfg[name], schema) for name, schema in SECTIONS.items()}
    return {"versions": versions(), "knobs": _beyond(kept, {name: cfg[name] for name in SECTIONS}, "")}


def _beyond(kept: dict[str, Any], whole: dict[str, Any], prefix: str) -> dict[str, Any]:
    """What of `whole` is not in `kept`, by its full name."""
    found = {}
    for name, value in whole.items():
        if name not in kept:
            found[prefix + name] = value
        elif isinstance(value, dict) and isinstance(kept[name], dict):
            found |= _beyond(kept[name], value, f"{prefix}{name}.")
    return found


def _stages(job: Job) -> None:
    wanted = job.cfg["stages"]
    if {"evaluate", ESTIMATE} & set(wanted):  # a benchmark that cannot be had is told now, not after the training
        job.cfg = {**job.cfg, "evaluate": evaluate.ready(job.cfg["evaluate"], job.store.root / "benchmarks")}
    observe.ready(job)
    examples = load(job)
    if "estimate" in wanted:
        estimate.run(job, examples, _held_out(job, examples))
    if "score" not in wanted:
        return
    if job.cfg["launch"]["dry_run"]:
        show_scoring(job, examples)
        if "select" in wanted and (asked := select.signals(job.cfg["selector"])):
            print(f"dry run: not shown is what the selector asks of other models ({', '.join(asked)}; see signals)")
        if "train" in wanted:
            show_training(job, examples)
        return
    if "select" not in wanted:
        score_pairs(job, examples)
        return
    facets = composition.labels(job, examples)  # a field that no record has is told before the scoring
    metrics = score_pairs(job, examples)
    subset = select_pairs(job, examples, metrics, facets)
    if "train" not in wanted:
        return
    checkpoints = fine_tune(job, examples, subset, metrics.num_rows)
    if "evaluate" in wanted:
        assess.assess(job, checkpoints, _held_out(job, examples))


def _held_out(job: Job, examples: Path) -> Path | None:
    return examples.with_name("held_out.parquet") if job.cfg["data"]["held_out"] else None


def load(job: Job) -> Path:
    """Source -> EXAMPLES and quarantine; returns the Parquet file of EXAMPLES."""
    settings = job.cfg["data"]
    with job.tracker.stage("load") as records:
        tests = leakage.wanted(job)
        what = data.identity(settings, tests)  # reads the whole source, so once
        job.result["keys"]["data"] = fingerprint(what)
        entry = job.store.entry("examples", VERSIONS["examples"], what, {},
                                lambda out: data.load(settings, out, tests))  # fmt: skip
        job.keep("load", entry)
        counts = json.loads((entry.path / "counts.json").read_text())
        told = [name for name in ("rows", "kept", "quarantined", "held_out") if name in counts]
        job.result["counts"] |= {name: counts[name] for name in told}
        records.log(counts)
    shutil.copyfile(entry.path / "quarantine.jsonl", job.dir / "quarantine.jsonl")
    _link(job.dir / "examples.parquet", entry.path / "examples.parquet")
    if "held_out" in counts:
        _link(job.dir / "held_out.parquet", entry.path / "held_out.parquet")
    if counts["system_turn"]:
        log.warning("load: %(system_turn)d records have a system turn; it stays in the record and is not read", counts)
    log.info(
        "load: %d rows = %s",
        counts["rows"],
        " + ".join(f"{counts[name]} {name.replace('_', ' ')}" for name in told[1:]),
    )
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
        job.write("metrics", metrics)
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


def select_pairs(job: Job, examples: Path, metrics: pa.Table, facets: pa.Table) -> pa.Table:
    """METRICS -> SUBSET, its folder, and, where noise was planted, how much of it the selector let through."""
    options, pairs = job.cfg["selector"], metrics.num_rows
    count = pairs_for(job.cfg["budget"], pairs) if select.uses_budget(options) else pairs
    with job.tracker.stage("select") as records:
        metrics = observe.observed(job, examples, metrics)
        start = time.monotonic()
        subset = select.select(metrics, options, count, job.cfg["seed"])
        job.result["seconds"]["select"] = round(time.monotonic() - start, 3)
        job.result["counts"]["selected"] = subset.num_rows
        job.write("subset", subset)
        job.write("composition", composition.composition(facets, metrics["id"], subset["id"]))
        shutil.rmtree(job.dir / "subset", ignore_errors=True)  # of an earlier run in this directory
        export(examples, subset, card.of_subset(job, metrics.num_rows), job.dir / "subset")
        _link(job.dir / "selected.jsonl", Path("subset/selected.jsonl"))
        if job.cfg["data"]["noise"]:
            labels = read(examples, ["id", "noise"])
            job.write("labels", composition.with_lengths(labels, facets))
            job.result |= noise.grade(metrics, labels, subset, options, count, job.cfg["seed"])
        report.rmi_figure(metrics, subset, job.dir / "rmi.png")
        leaked = leakage.measure(job, examples, metrics, subset)
        records.log({"pairs": metrics.num_rows, "selected": subset.num_rows, **leaked, **job.result.get("noise", {})})
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
    same = determining(settings, job.cfg["launch"]["nodes"] * job.cfg["launch"]["ranks"])
    inputs = {"pairs": digest_of_ids(subset["id"].to_pylist()), "model": base.key}
    # What an interrupted training left; no other training may meet it.
    work = job.store.root / "training" / fingerprint({"version": VERSIONS["checkpoint"], **same, **inputs})[:24]

    def build(out: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        rows = gather(examples, sorted(subset["id"].to_pylist()), ["id", "query", "answer"], out)
        write(pa.Table.from_pylist(list(rows)), out / "rows.parquet")
        job.ranks("qaq.train", _training(base.directory(), out, work, settings))
        card.write_model_card(out, job.cfg["target"], {**card.of_subset(job, pairs), **card.of_recipe(settings)})

    name = "train" if len(job.cfg["train"]["seeds"]) == 1 else f"train_seed{seed}"
    entry = job.keep(name, job.store.entry("checkpoint", VERSIONS["checkpoint"], same, inputs, build))
    shutil.rmtree(work, ignore_errors=True)
    _link(job.dir / name.replace("train", "checkpoint"), (entry.path / "model").resolve())
    records.log_all({"seed": seed, **line} for line in read_jsonl(entry.path / "training.jsonl"))
    counts = {"seed": seed, **json.loads((entry.path / "counts.json").read_text())}
    job.result["training"].append(counts)
    records.log(counts)
    return entry


def _summary(metrics: pa.Table) -> dict[str, float]:
    held = [name for name in metrics.column_names[1:] if metrics[name].null_count < metrics.num_rows]
    return {f"mean_{name}": pc.mean(metrics[name]).as_py() for name in held}


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    os.symlink(target, link)
