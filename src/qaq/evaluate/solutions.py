"""Replies -> SOLUTIONS, and what is still to be generated. Loads no torch.

A unit is one sample of one task. Units are generated in fixed batches (the worker `generate`), each kept as a shard under one
folder, so a kill costs a batch, and any number of workers gives the same replies. A reply becomes a program in two steps, as
in EvalPlus: it is cut where its protocol says, then sanitized (`clean`); both the reply and the program are kept.
"""

import hashlib
import importlib.util
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from qaq import launch, tables
from qaq.evaluate import benchmark, protocol
from qaq.evaluate.benchmark import Task
from qaq.shards import Shards

log = logging.getLogger(__name__)

# A row: id of the unit, the reply as it was said (marks left out), its tokens, and whether the limit on tokens stopped it.
SCHEMA = pa.schema([("id", pa.string()), ("raw", pa.string()), ("tokens", pa.int32()), ("capped", pa.bool_())])
_CLEAN = Path(__file__).with_name("clean.py")


@dataclass(frozen=True)
class Unit:
    """One sample of one task."""

    task: Task
    sample: int

    @property
    def id(self) -> str:
        """Its name in the shards."""
        return f"{self.task.task_id} {self.sample}"

    def seed(self, base: int) -> int:
        """Of its random numbers, whoever else is in its batch."""
        return int.from_bytes(hashlib.sha256(f"{base} {self.id}".encode()).digest()[:7], "big")


def check(settings: dict[str, Any]) -> None:
    """ValueError for a benchmark that is not there, samples that would all be the same, or a generator that is not installed."""
    benchmark.check(settings)
    if settings["samples"] > 1 and not settings["temperature"]:
        raise ValueError(f"evaluate.samples={settings['samples']} of greedy decoding would be {settings['samples']} times the "
                         "same: set evaluate.temperature, such as 0.8")  # fmt: skip
    if settings["samples"] and settings["generator"] == "vllm" and importlib.util.find_spec("vllm") is None:
        raise ValueError("evaluate.generator=vllm: vllm is not installed here, and cannot be beside this transformers. Make an "
                         "environment of its own: vllm first, then requirements.txt without the versions vllm has brought; "
                         "train with this one, then run the same command there: what is finished is found in store_dir")  # fmt: skip


def identity(settings: dict[str, Any]) -> dict[str, Any]:
    """What determines SOLUTIONS besides the model."""
    return protocol.identity(settings, benchmark.tasks(settings))


def units(settings: dict[str, Any]) -> list[Unit]:
    """Everything that is asked, task by task."""
    return [Unit(task, sample) for task in benchmark.tasks(settings) for sample in range(settings["samples"])]


def replies(folder: Path) -> Shards:
    """What has been said so far."""
    return Shards(folder / "replies", SCHEMA, "replies")


def checked(folder: Path, generator: str) -> Shards:
    """The few greedy replies by which another generator is compared with ours."""
    return Shards(folder / f"check_{generator}", SCHEMA, "replies")


def left(folder: Path, settings: dict[str, Any]) -> Callable[[], int]:
    """Counts, at each call, the units without a reply."""
    held, ids = replies(folder), [unit.id for unit in units(settings)]
    return lambda: len(held.missing(ids))


def collect(folder: Path, settings: dict[str, Any], out: Path) -> None:
    """Write solutions.parquet (SOLUTIONS), counts.json and canonical.parquet into `out`, from a folder in which nothing is left.

    canonical.parquet (id, context, target): the canonical solution as the reply to the same prompt, for whoever measures its
    likelihood.
    """
    asked, said = units(settings), {row["id"]: row for row in replies(folder).read().to_pylist()}
    facts = json.loads((folder / "asked.json").read_text())
    program_of = protocol.PROTOCOLS[facts["protocol"]].program
    cut = [program_of(unit.task, said[unit.id]["raw"]) for unit in asked]
    programs = _cleaned(cut, [unit.task.entry_point for unit in asked])
    rows = [{"task_id": unit.task.task_id, "sample": unit.sample, "solution": text if clean is None else clean,
             "cleaned": clean is not None, **{name: said[unit.id][name] for name in ("raw", "tokens", "capped")}}
            for unit, text, clean in zip(asked, cut, programs, strict=True)]  # fmt: skip
    counts = {**_counts(rows), **facts, **_agreement(folder, facts["generator"])}
    log.info("%(solutions)d solutions, %(tokens)d tokens; %(capped)d stopped by max_new_tokens", counts)
    if counts["not_cleaned"]:
        log.warning("%(not_cleaned)d replies could not be sanitized and are graded as they were cut", counts)
    tables.write(tables.conform(rows, tables.SOLUTIONS), out / "solutions.parquet")
    (out / "counts.json").write_text(json.dumps(counts, indent=1) + "\n")
    shutil.copyfile(folder / "canonical.parquet", out / "canonical.parquet")


def _agreement(folder: Path, generator: str) -> dict[str, Any]:
    """{checked: tasks both generators were asked, agreed: those with the same reply}; {} for our own generator."""
    if generator == "transformers":
        return {}
    ours, theirs = ({row["id"]: row["raw"] for row in checked(folder, name).read().to_pylist()}
                    for name in ("transformers", generator))  # fmt: skip
    found = {"checked": len(ours), "agreed": sum(theirs[id] == raw for id, raw in ours.items())}
    level = logging.INFO if found["agreed"] == found["checked"] else logging.WARNING
    log.log(level, f"{generator} and transformers give the same greedy reply to %(agreed)d of %(checked)d tasks", found)
    return found


def _counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    return {
        "tasks": len({row["task_id"] for row in rows}),
        "solutions": len(rows),
        "capped": sum(row["capped"] for row in rows),
        "no_room": sum(row["capped"] and not row["tokens"] for row in rows),
        "not_cleaned": sum(not row["cleaned"] for row in rows),
        "tokens": sum(row["tokens"] for row in rows),
    }


def _cleaned(programs: list[str], entry_points: list[str]) -> list[str | None]:
    """Each program sanitized; None where that failed. In processes of their own: the first that one program brings down is
    followed by another."""
    with tempfile.TemporaryDirectory(prefix="qaq-clean-") as scratch:
        asked, answers = Path(scratch) / "programs.jsonl", Path(scratch) / "cleaned.jsonl"
        rows = ({"program": text, "entry_point": name} for text, name in zip(programs, entry_points, strict=True))
        asked.write_text("".join(json.dumps(row) + "\n" for row in rows))
        answers.touch()
        while len(found := answers.read_text().splitlines()) < len(programs):
            done = launch.command([sys.executable, "-P", str(_CLEAN), str(asked), str(answers)])
            if done.returncode > 0:
                raise launch.WorkerFailed(f"EvalPlus's sanitize cannot be run: {done.stderr.strip()[-500:]}")
            if done.returncode < 0:
                _give_up_next(answers)
        return [json.loads(line) for line in found]


def _give_up_next(answers: Path) -> None:
    """Write null for the program that ended the process, after the last whole line."""
    text = answers.read_text()
    answers.write_text(text[: text.rfind("\n") + 1] + "null\n")
