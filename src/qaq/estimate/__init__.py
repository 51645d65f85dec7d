"""What the stages would cost: pairs, tokens, operations, time and memory, here and on accelerators.

parts.py   what scoring, training and evaluation have to do, counted; what was measured of it, stretched to all of it
table.py   the same for a person

Tokens are counted by the workers that will read them, and the scorer's are kept for scoring. Time here is measured by a
worker of each room on a sample of the room's own work (`qaq.<room>.measure`); time elsewhere is arithmetic on peak rates.
"""

import dataclasses
import json
import logging
import time
from pathlib import Path
from typing import Any

import yaml

from qaq import select
from qaq.estimate.parts import Part, evaluation, sampled, scoring, training
from qaq.estimate.table import table, training_table
from qaq.job import Job

__all__ = ["expected_training", "run", "table"]
log = logging.getLogger(__name__)
ACCELERATORS = Path(__file__).resolve().parents[3] / "conf" / "accelerators.yaml"


def run(job: Job, examples: Path, held_out: Path | None) -> None:
    """EXAMPLES, the pairs that were set aside, and settings -> estimate.json, a record for each part, and `estimate` in result.json."""
    start = time.monotonic()
    scorer = job.cfg["scorer"]
    with job.tracker.stage("estimate") as records:
        pairs = sampled(job, examples)
        parts = [scoring(job, "score", scorer["model"], pairs)]
        if scorer["weak"]:
            parts.append(scoring(job, "score_weak", scorer["weak"], pairs))
        parts += [training(job, pairs), *evaluation(job, held_out)]
        job.result["estimate"] = _said(job, pairs.counted, pairs.all, parts)
        (job.dir / "estimate.json").write_text(json.dumps(job.result["estimate"], indent=1, allow_nan=False) + "\n")
        records.log_all([_record(part) for part in job.result["estimate"]["parts"]])
    job.result["seconds"]["estimate"] = round(time.monotonic() - start, 3)


def expected_training(job: Job, examples: Path) -> str:
    """What training will need of each GPU and how long it will take there, as text; counted, not measured."""
    part = training(job, sampled(job, examples), timed=False)
    said = _part(part, yaml.safe_load(ACCELERATORS.read_text()), job.cfg["estimate"])
    return training_table(
        said, job.cfg["launch"], job.cfg["train"].get("deepspeed"), job.cfg["estimate"]["flops_share"]
    )


def _said(job: Job, counted: int, pairs: int, parts: list[Part]) -> dict[str, Any]:
    settings = job.cfg["estimate"]
    devices = yaml.safe_load(ACCELERATORS.read_text())
    return {"pairs": pairs, "pairs_counted": counted,
            "left_out": list(select.signals(job.cfg["selector"])),
            "assumed": {name: settings[name] for name in ("flops_share", "bandwidth_share")},
            "accelerators": devices, "parts": [_part(part, devices, settings) for part in parts]}  # fmt: skip


def _part(part: Part, devices: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    plain = {f.name: getattr(part, f.name) for f in dataclasses.fields(part) if f.name not in ("memory", "streamed")}
    if part.memory is None:
        return {**plain, "memory_bytes": None, "host_bytes": None, "elsewhere": {}}
    return {**plain, "memory_bytes": part.needed, "host_bytes": part.memory.host,
            "elsewhere": {device["name"]: _elsewhere(part, device, settings) for device in devices}}  # fmt: skip


def _elsewhere(part: Part, device: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """{seconds on `part.devices` such devices, fits: whether one's memory holds its share of the part, devices: how many hold it if the states are
    divided among them, or null}."""
    rate = device["tflops"] * 1e12 * settings["flops_share"] * part.devices
    flops, decoded, moved = part.flops or 0.0, *part.streamed
    seconds = (flops - decoded) / rate
    seconds += max(decoded / rate, moved / (device["bandwidth"] * 1e9 * settings["bandwidth_share"]))
    room, rest = device["memory"] * 1e9, part.needed - part.memory.states
    fits = part.needed <= room
    shared = -int(-part.memory.states // (room - rest)) if part.memory.states and rest < room else None
    return {"seconds": seconds, "fits": fits, "devices": part.devices if fits else shared}


def _record(part: dict[str, Any]) -> dict[str, Any]:
    """The part as one flat record."""
    flat = {name: value for name, value in part.items() if not isinstance(value, dict)}
    flat |= {f"here_{name}": value for name, value in part["here"].items()}
    return flat | {f"seconds_{name}": found["seconds"] for name, found in part["elsewhere"].items()}
