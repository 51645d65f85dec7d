"""Records of a run: metrics.jsonl is the truth, Weights & Biases mirrors it. The only file that imports wandb.

A W&B run is one stage of one job: group = the sweep (or the job itself), job_type = the stage, config = everything.
Its id follows from the run's directory name and the stage, so a continued job continues its W&B runs.
"""

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qaq.store import fingerprint

log = logging.getLogger(__name__)


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
        run = self._wandb_run(name) if self.settings["mode"] != "off" else None
        try:
            yield Stage(self.file, name, run)
        except BaseException:
            if run is not None:
                run.finish(exit_code=1)
            raise
        if run is not None:
            run.finish()

    def _wandb_run(self, stage: str) -> Any:
        import wandb

        quiet = wandb.Settings(console="off", silent=self.settings["mode"] == "offline", disable_git=True)
        return wandb.init(
            project=self.settings["project"], entity=self.settings["entity"], mode=self.settings["mode"],
            dir=self.run_dir, group=self.group, job_type=stage, name=f"{self.run_dir.name} {stage}",
            id=fingerprint({"run": self.run_dir.name, "group": self.group, "stage": stage})[:16],
            resume="allow" if self.settings["mode"] == "online" else None, config=self.config, settings=quiet,
        )  # fmt: skip


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
