"""Which runs and which scores a figure or table may draw, and what it says of those that it does not.

Nothing is averaged in silence: runs with a mark (killed, superseded, truncated, ...) are left out and listed; runs on a part of the
benchmark are used, because their RESULTS name the part. Where LOGS hold several sets of scores a figure draws the largest one that
has what it needs, and says which.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analysis.identity import departures
from analysis.logs import Logs, counts
from analysis.runs import MISSING
from qaq import select

Run = dict[str, Any]
_NAMED = 3  # runs that a sweep lacks and that are each named
NAMES = {"base": "Base", "full": "Full", "random": "Random", "ifd": "IFD", "rmi": "RMI (global)", "stratified": "RMI (stratified)",
         "diff_high": "Diff-High", "diff_low": "Diff-Low", "sum_high": "Sum-High", "sum_low": "Sum-Low", "rds": "RDS+", "scar": "SCAR",
         "xcoder": "XCoder"}  # fmt: skip


@dataclass(frozen=True)
class Scores:
    """One METRICS table, the runs that use it, and how many other tables would have done."""

    digest: str
    metrics: pa.Table
    runs: list[Run]
    others: int

    def array(self, name: str) -> Any:
        """A column as float64."""
        return self.metrics[name].to_numpy()


def usable(logs: Logs) -> list[Run]:
    """The runs that count, in the order of their ids."""
    return [run for run in logs.runs.to_pylist() if counts(run)]


def left_out(logs: Logs) -> list[str]:
    """A line for each run that does not count: its name and why; of runs that never began one for a sweep where they are many."""
    held, out = {run["run"] for run in usable(logs)}, defaultdict(list)
    for run in logs.runs.to_pylist():
        if run["run"] not in held:
            out[run["group"], run["mark"] or run["status"]].append(run)
    lines = []
    for (group, why), runs in out.items():
        if len(runs) > _NAMED and {run["status"] for run in runs} == {MISSING}:
            lines.append(f"{group}, {len(runs)} runs: {why}")
        else:
            lines += [f"{named(run)}: {why}" for run in runs]
    return sorted(lines)


def named(run: Run) -> str:
    """Group and name: for people, who find it by them."""
    return f"{run['group']}/{run['name']}"


def largest(logs: Logs, columns: Sequence[str], labelled: bool = False) -> Scores | None:
    """The scores with most pairs among those whose `columns` hold no null; `labelled`: with planted noise, else rather without.

    Ties go to the scores that more runs use, then to the digest.
    """
    runs = usable(logs)
    found = []
    for digest in pc.unique(logs.metrics["scores"]).to_pylist():
        metrics = logs.scored(digest)
        users = [run for run in runs if run["scores"] == digest]
        whole = users and not any(metrics[name].null_count for name in columns)
        if whole and (not labelled or _labels(metrics)):
            found.append((spoiled(users[0]) != labelled, -metrics.num_rows, -len(users), digest, metrics, users))
    if not found:
        return None
    *_, digest, metrics, users = min(found, key=lambda one: one[:4])
    return Scores(digest, metrics, users, len(found) - 1)


def _labels(metrics: pa.Table) -> bool:
    """Whether it is known which pairs were spoiled, and some were."""
    return bool(pc.any(pc.not_equal(metrics["noise"], "clean")).as_py())


def spoiled(run: Run) -> bool:
    """Whether a part of its pairs was spoiled on purpose."""
    return bool(asked(run, "data").get("noise"))


def selections(logs: Logs, runs: Iterable[Run]) -> list[tuple[Run, frozenset[str]]]:
    """Each run's selected ids; of runs with one label and one budget the first (lowest seed) speaks for all."""
    ids: dict[str, list[str]] = {}
    for run, id in zip(logs.subsets["run"].to_pylist(), logs.subsets["id"].to_pylist(), strict=True):
        ids.setdefault(run, []).append(id)
    kept: dict[tuple[str, str], tuple[Run, frozenset[str]]] = {}
    for run in sorted(runs, key=lambda run: (run["seed"] or 0, run["run"])):
        if run["run"] in ids:
            kept.setdefault((label(run), run["budget"]), (run, frozenset(ids[run["run"]])))
    return list(kept.values())


def one_budget(chosen: list[tuple[Run, frozenset[str]]]) -> list[tuple[Run, frozenset[str]]]:
    """Those of the budget that most selectors share (ties: the nearest to a quarter), without the whole data set."""
    chosen = [one for one in chosen if one[0]["selector"] != "full"]
    budgets = [run["budget"] for run, _ in chosen]
    best = min(budgets, key=lambda b: (-budgets.count(b), abs(float(b) - 0.25), b), default=None)
    return [one for one in chosen if one[0]["budget"] == best]


def repeated(chosen: list[tuple[Run, frozenset[str]]], runs: Iterable[Run]) -> str:
    """A sentence for the other runs of the chosen selectors and budget, of whatever seed and recipe; "" if there are none."""
    drawn = {run["run"] for run, _ in chosen}
    cells = {(label(run), run["budget"]) for run, _ in chosen}
    others = [
        run for run in runs if run["run"] not in drawn and run["selected"] and (label(run), run["budget"]) in cells
    ]
    return (
        f"Of each selector the lowest seed; {len(others)} other run{'s' * (len(others) > 1)} not shown."
        if others
        else ""
    )


def label(run: Run) -> str:
    """The selector's name for a reader, with the options that are not its defaults."""
    name = options(run).get("kind") or options(run).get("name") or run["selector"]
    other = [f"{key}={json.dumps(value)}" for key, value in sorted(departures(options(run)).items())]
    return ", ".join([NAMES.get(name, name), *other])


def share(run: Run) -> float | None:
    """The share of the scored pairs that the run selected."""
    return run["selected"] / run["pairs"] if run["selected"] and run["pairs"] else None


def options(run: Run) -> dict[str, Any]:
    """The selector's options."""
    return asked(run, "selector")


def asked(run: Run, section: str) -> dict[str, Any]:
    """What the run was asked for in a section of its configuration; empty in logs that do not tell it."""
    return json.loads(run["config"] or "{}").get(section, {})


def asks_weak(run: Run) -> bool:
    """Whether its selector looks at the weak scorer, too."""
    return options(run).get("name") in select.NAMES and select.needs_weak(options(run))


def checkpoints(run: Run) -> dict[str, str]:
    """{`train`, or `train_seedN` where it trained with several seeds: key of the model}; empty in logs that do not tell it."""
    keys = json.loads(run["keys"] or "{}")
    return {stage: key for stage, key in keys.items() if stage == "train" or stage.startswith("train_seed")}


def model(run: Run, seed: int | None) -> str:
    """Which model the run trained with `seed`: its checkpoint's key; of logs that do not tell it, the seeds."""
    held = checkpoints(run)
    return held.get(f"train_seed{seed}") or held.get("train") or f"{run['seed']} {seed}"


def of_data(run: Run) -> str:
    """Which pairs: name, digest, number, and whether they are as they were found."""
    on_purpose = ", a part spoiled on purpose" if spoiled(run) else ""
    data = asked(run, "data")
    name = data.get("id") or Path(data.get("path") or run["data"]).name
    return f"{run['pairs']:,} pairs of {name} ({(run['data_digest'] or '?')[:8]}{on_purpose})"


def of_scorer(run: Run) -> str:
    """Which models read them."""
    return run["scorer"] + (f", weak scorer {run['weak']}" if run["weak"] else "")
