"""Jobs as the pipeline leaves them, made in a moment: real configs, real files, real offline W&B, no model."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hydra import compose, initialize_config_dir

from qaq import config, tables
from qaq.job import Job, blank_result
from qaq.store import Store, canonical
from qaq.tables import METRICS, SUBSET
from qaq.tracking import Tracker

CONF = Path(__file__).resolve().parents[2] / "conf"
KEYS = {"data": "d1", "load": "l1", "score": "s1", "model_score": "m1"}
# W&B's service refuses a run whose namesake in the same process it has not put away yet: tests with W&B take a project each.
TRACKING = ["tracking=off"]
SWEEP = ["selector=random,rmi", "budget=0.25,0.5", "hydra.sweep.dir=sweep"]


def settings(*options: str) -> dict[str, Any]:
    """The config of a job, as main.py gives it to the pipeline."""
    config.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return canonical(config.plain(compose("config", ["stages=[load,score,select]", *TRACKING, *options])))


def begin(place: Path, *options: str, group: str = "sweep", sweep: list[str] | None = None) -> Job:
    """A job in `place` that has started: as `pipeline.run` before the first stage."""
    place.mkdir(parents=True, exist_ok=True)
    cfg = settings(*options)
    job = Job(cfg, place, Store(place / "store"), Tracker(place, cfg, group))
    asked = {"overrides": [*options], "sweep": sweep or []}
    job.result = {**blank_result(cfg, place.name, group), **asked}
    job.save()
    return job


def metrics(pairs: int = 8, shift: float = 0.0) -> pa.Table:
    """METRICS of so many pairs."""
    rows = {
        "id": [f"id{i}" for i in range(pairs)],
        "rmi": np.arange(pairs) / 10 + shift,
        "ifd": np.linspace(0, 1, pairs),
    }
    return tables.conform(rows, METRICS)


def work(job: Job, keys: dict[str, str] | None = None, shift: float = 0.0) -> Job:
    """The stages up to the subset."""
    with job.tracker.stage("load") as records:
        job.result["keys"] |= keys or KEYS
        job.result["counts"] |= {"rows": 10, "kept": 8, "quarantined": 2}
        records.log(job.result["counts"])
    with job.tracker.stage("score"):
        job.write("metrics", metrics(shift=shift))
    with job.tracker.stage("select"):
        count = round(8 * job.cfg["budget"])
        job.result["counts"]["selected"] = count
        job.write(
            "subset", tables.conform({"rank": list(range(count)), "id": [f"id{i}" for i in range(count)]}, SUBSET)
        )
    job.result["seconds"] = {"load": 1.5, "total": 3.25}
    return job


def finish(job: Job, status: str = "complete", **result: Any) -> Job:
    """The job's last words."""
    job.result |= {"status": status, **result}
    job.end()
    return job


def run(place: Path, *options: str, group: str = "sweep", sweep: list[str] | None = None, **made: Any) -> Job:
    """A whole job."""
    return finish(work(begin(place, *options, group=group, sweep=sweep), **made))


def the_sweep(place: Path, *but: str) -> Path:
    """The jobs of SWEEP but those with the names `but`."""
    cells = [(selector, budget) for selector in ("random", "rmi") for budget in ("0.25", "0.5")]
    for number, (selector, budget) in enumerate(cells):
        if str(number) not in but:
            run(place / str(number), f"selector={selector}", f"budget={budget}", sweep=SWEEP)
    return place
