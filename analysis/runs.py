"""Attempts -> RUNS: one row for each content, with what it is: complete, failed, killed, superseded, of other data, missing."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from analysis import identity, logs
from analysis.sources import Attempt
from qaq.store import file_digest, fingerprint

COMPLETE, KILLED, MISSING, DRY = "complete", "killed", "missing", "dry run"


@dataclass(frozen=True)
class Run:
    """A row of RUNS, and the attempt it is of (None for a missing one); `asked`: digest of its settings; `whole`: whether its
    tables are what it wrote. Nobody knows how far a killed run came with the last one."""

    row: dict[str, Any]
    attempt: Attempt | None
    asked: str
    whole: bool

    @property
    def started(self) -> str:
        """Text that sorts by time; results from before it was kept come first."""
        return self.row["started"] or ""

    @property
    def counts(self) -> bool:
        """Whether it can stand for others of its kind."""
        return logs.counts(self.row)


def runs(attempts: Iterable[Attempt]) -> list[Run]:
    """A run for each content; of attempts that say the same, the newest."""
    every = [_run(attempt) for attempt in attempts]
    kept: dict[str, Run] = {}
    for run in sorted(every, key=lambda run: (run.counts, run.started, run.row["group"], run.row["name"])):
        kept[run.row["run"]] = run
    found = list(kept.values())
    marks = {run.row["run"]: _superseded(run, found) or run.row["mark"] or _other_data(run, found) for run in found}
    for run in found:
        run.row["mark"] = marks[run.row["run"]] or _partial(run.row["partial"])
    return sorted([*found, *_missing(every)], key=lambda run: run.row["run"])


def _run(attempt: Attempt) -> Run:
    result, config = attempt.result, attempt.result["config"]
    status, altered = result["status"] if attempt.ended else KILLED, _altered(attempt)
    made = {"run": identity.run(result, status), "name": result["name"], "group": result["group"], "status": status,
            "mark": _mark(attempt, status, altered), "cell": identity.cell(result), "started": result["started"],
            "error": result.get("error")}  # fmt: skip
    facts = {name: json.dumps(value, sort_keys=True) for name, value in
             (("config", identity.shown(config)), ("keys", result["keys"]), ("seconds", result["seconds"]))}  # fmt: skip
    return Run({**made, **_what(result), **facts, "evaluation": _evaluation(result)}, attempt,
               fingerprint(identity.asked(result)), attempt.ended and not altered)  # fmt: skip


def _what(result: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, and how much came of it."""
    config, stages, counts = result["config"], result["stages"], result["counts"]
    evaluated = "evaluate" in stages
    return {"selector": identity.label(config["selector"]) if "select" in stages else None,
            "budget": str(config["budget"]) if "select" in stages else None, "seed": config["seed"], "data": config["data"]["name"],
            "data_digest": result["keys"].get("data"), "rows": counts.get("rows"), "selected": counts.get("selected"),
            "pairs": counts["kept"] if "score" in result["keys"] else None,
            "scorer": config["scorer"]["model"]["name"], "weak": (config["scorer"]["weak"] or {}).get("name"),
            "target": config["target"]["name"] if "train" in stages else None,
            "train": config["train"]["name"] if "train" in stages else None,
            "benchmark": config["evaluate"]["benchmark"] if evaluated else None,
            "partial": result.get("partial", "").strip(" ()") if evaluated else None}  # fmt: skip


def _evaluation(result: dict[str, Any]) -> str | None:
    if "evaluation" not in result:
        return None
    return json.dumps({**result["evaluation"], "failed": result.get("calibration", {}).get("failed")}, sort_keys=True)


def _mark(attempt: Attempt, status: str, altered: list[str]) -> str | None:
    if status == KILLED:
        return "killed, or still running: no end was written"
    if attempt.torn:
        return f"truncated log: {attempt.torn}"
    if altered:
        return f"damaged: {', '.join(altered)}"
    if status != COMPLETE:
        return status
    return None


def _altered(attempt: Attempt) -> list[str]:
    """Files that are gone, or not what the run wrote."""
    told = attempt.result.get("files", {})  # none were told before there was this check
    files = {name: attempt.folder / name for name in told}
    return [name for name, file in files.items() if not file.is_file() or file_digest(file) != told[name]]


def _partial(tasks: str | None) -> str | None:
    return f"partial: {tasks} tasks" if tasks else None


def _superseded(run: Run, every: list[Run]) -> str | None:
    """By the newest that asked for the same of the same data and counts; an attempt without result also by a later one."""
    if run.row["status"] == DRY:
        return None
    rivals = [one for one in every if one.asked == run.asked and one is not run and one.row["status"] != DRY
              and run.row["data_digest"] in (None, one.row["data_digest"])]  # fmt: skip
    better = [one for one in rivals if one.counts and (one.started > run.started or not run.counts)]
    later = [] if run.counts else [one for one in rivals if one.started > run.started]
    newest = max(better or later, key=lambda one: one.started, default=None)
    return f"superseded by {newest.row['run']}" if newest else None


def _other_data(run: Run, every: list[Run]) -> str | None:
    """Where the same data settings gave other pairs than most runs of the sweep read (as many: than the newest read)."""
    settings = json.loads(run.row["config"])["data"]
    peers = [one for one in every if one.row["group"] == run.row["group"] and one.row["data_digest"]
             and json.loads(one.row["config"])["data"] == settings]  # fmt: skip
    digests = Counter(one.row["data_digest"] for one in peers)
    if run.row["data_digest"] is None or len(digests) < 2:
        return None
    newest = {one.row["data_digest"]: one.started for one in sorted(peers, key=lambda one: one.started)}
    usual = max(digests, key=lambda digest: (digests[digest], newest[digest], digest))
    if run.row["data_digest"] == usual:
        return None
    return f"other data: {run.row['data_digest'][:8]}, and {usual[:8]} in {digests[usual]} of {len(peers)} runs of its group"


def _missing(every: list[Run]) -> list[Run]:
    """A row for each cell that a sweep asked for and no attempt of it has."""
    found = {(run.row["group"], frozenset(run.attempt.result["overrides"])) for run in every}
    sweeps = {(run.row["group"], tuple(run.attempt.result["sweep"])) for run in every if run.attempt.result["sweep"]}
    lost = {}
    for group, sweep in sorted(sweeps):
        cells = _cells(sweep)
        shared = set.intersection(*map(set, cells))
        for one in cells:
            if (group, frozenset(one)) not in found:
                row = _absent(group, one, [option for option in one if option not in shared])
                lost[row["run"]] = Run(row, None, row["run"], False)
    return list(lost.values())


def _cells(sweep: Iterable[str]) -> list[list[str]]:
    """The overrides of every job of a sweep, as Hydra makes them."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    jobs = BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(list(sweep)), None)
    return [
        [option for option in job if not option.startswith("hydra.")] for job in itertools.chain.from_iterable(jobs)
    ]


def _absent(group: str, overrides: list[str], varied: list[str]) -> dict[str, Any]:
    told = dict(option.split("=", 1) for option in overrides if "=" in option)  # ~train.adapter has no value
    return {"run": fingerprint({"missing": sorted(overrides), "group": group})[:12], "name": " ".join(varied), "group": group,
            "status": MISSING, "mark": "missing from its sweep", "selector": told.get("selector"),
            "budget": told.get("budget"), "data": told.get("data"), "started": None}  # fmt: skip
