"""Records of a run: metrics.jsonl is the truth, Weights & Biases mirrors it. The only file that imports wandb.

A W&B run is one stage of one job: group = the sweep (or the job itself), job_type = the stage, config = everything. Its id
follows from the job's names, its config and the stage, so a continued job continues its W&B runs and another never meets them.
The last one, of job_type "result", holds what the job made. Each has a folder `run` among its files that mirrors the job's
directory: a stage's has result.json as it stood when the stage began, the result's the last one and the tables it names. So
whoever reads a job's directory (analysis/fetch.py) reads W&B's folders, or files downloaded from W&B, in the same way.
"""

import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qaq.store import fingerprint

log = logging.getLogger(__name__)

RESULT = "result.json"
SUCCEEDED = ("complete", "dry run")  # of its `status`
MIRROR = "run"  # the folder among a W&B run's files
TEXTS = (
    "examples.parquet",
    "quarantine.jsonl",
    "leaks.parquet",
)  # of the job's directory; only tracking.texts sends them along


class Tracker:
    """Writes the records of one job; `settings` is the tracking section of `config`."""

    def __init__(self, run_dir: Path, config: dict[str, Any], group: str) -> None:
        self.run_dir, self.config, self.settings = run_dir, config, config["tracking"]
        self.group = self.settings["group"] or group
        self.file = run_dir / "metrics.jsonl"
        self.file.unlink(missing_ok=True)

    @contextmanager
    def stage(self, name: str) -> Iterator["Stage"]:
        """The records of one stage; its W&B run ends with it, marked failed if the stage raised."""
        run = self._begin(name, [RESULT]) if self.settings["mode"] != "off" else None
        try:
            yield Stage(self.file, name, run)
        except BaseException:
            if run is not None:
                run.finish(exit_code=1)
            raise
        if run is not None:
            run.finish()

    def publish(self, result: Mapping[str, Any]) -> None:
        """The job's last W&B run: `result`, as result.json has it, and the tables it names. After a failure too."""
        if self.settings["mode"] == "off":
            return
        texts = [name for name in TEXTS if self.settings["texts"] and (self.run_dir / name).exists()]
        run = self._begin("result", [RESULT, *result["files"], *texts], keys=result["keys"], status=result["status"])
        run.summary.update(summary(result))
        run.finish(exit_code=int(result["status"] not in SUCCEEDED))

    def _begin(self, stage: str, files: Iterable[str], **content: Any) -> Any:
        """A W&B run with these files of the job's directory."""
        import wandb

        quiet = wandb.Settings(
            console="off", silent=self.settings["mode"] == "offline", disable_git=True, host="", x_disable_meta=True
        )  # nor the host, the command line and absolute paths
        names = {"run": self.run_dir.name, "group": self.group, "stage": stage}
        run = wandb.init(
            project=self.settings["project"], entity=self.settings["entity"], mode=self.settings["mode"],
            dir=self.run_dir, group=self.group, job_type=stage, name=f"{self.run_dir.name} {stage}",
            id=fingerprint({**names, "config": self.config, **content})[:16],
            resume="allow" if self.settings["mode"] == "online" else None, config=self.config, settings=quiet,
        )  # fmt: skip
        mirror(self.run_dir, files, Path(run.dir) / MIRROR)
        for file in sorted((Path(run.dir) / MIRROR).iterdir()):
            run.save(file, base_path=run.dir, policy="now", glob=False)
        return run


def mirror(source: Path, names: Iterable[str], place: Path) -> None:
    """Copies of the files `names` of `source` in the folder `place`: all of them or none."""
    scratch = place.with_name(f".{place.name}")
    scratch.mkdir()
    for name in names:
        shutil.copyfile(source / name, scratch / name)
    scratch.rename(place)


def summary(result: Mapping[str, Any]) -> dict[str, Any]:
    """What W&B shows beside a job: its status, counts, and values; of several training seeds those of all pooled."""
    values = {}
    for row in sorted(result["values"], key=lambda row: row["pooled"]):
        values[f"{'base' if row['selector'] == 'base' else 'tuned'}/{row['benchmark']}/{row['metric']}"] = row["value"]
    return {"status": result["status"], **result["counts"], **result.get("noise", {}), **values}


class Stage:
    """One stage's records, each flushed to disk before W&B sees it."""

    def __init__(self, file: Path, name: str, run: Any) -> None:
        self.file, self.name, self.run = file, name, run

    def log(self, record: Mapping[str, Any]) -> None:
        """One record: plain numbers and text."""
        self.log_all([record])

    def log_all(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Records in order, with one flush for all."""
        held = list(records)
        with self.file.open("a", encoding="utf-8") as out:
            for record in held:
                out.write(json.dumps({"stage": self.name, "time": time.time(), **record}) + "\n")
            out.flush()
            os.fsync(out.fileno())
        if self.run is not None:
            for record in held:
                self.run.log(dict(record))
