"""What each run cost, and the key it is found by: seconds of every stage, tokens trained."""

import json
import logging
from collections import defaultdict
from collections.abc import Mapping

import pyarrow.compute as pc

from analysis import drawing
from analysis.logs import Logs
from analysis.scored import differing, recipe
from analysis.typeset import MISSING, Table
from analysis.usable import Run, label, left_out, of_data, of_scorer, share, usable

log = logging.getLogger(__name__)
NEEDS = ("runs", "training")
STAGES = ("score", "select", "train", "evaluate")


def table(logs: Logs) -> Table | None:
    """A section a setting, a row a run."""
    runs = [run for run in usable(logs) if run["selected"] and run["seconds"]]
    if not runs:
        log.info("cost: no usable run has told its seconds")
        return None
    settings: dict[str, list[Run]] = defaultdict(list)
    recipes = {run["run"]: recipe(run) for run in runs if spent(json.loads(run["seconds"]), "train")}
    for run in sorted(
        runs, key=lambda run: (-(run["pairs"] or 0), drawing.order(label(run)), share(run) or 0, run["run"])
    ):
        trained = ""
        if run["run"] in recipes:
            how = differing(recipes[run["run"]], set(recipes.values()))
            trained = f"; tuned {run['target']}, recipe {run['train']}{how}"
        settings[f"{of_data(run)}; scorer {of_scorer(run)}{trained}"].append(run)
    sections = [(heading, [_row(logs, run) for run in own]) for heading, own in settings.items()]
    out = left_out(logs)
    return Table("Cost, in seconds", ["selection", "share", "pairs", "seed", *STAGES, "tokens trained", "this run", "key"],
                 sections, [
        "A stage's seconds are those of the run that computed it first: runs that share a result show the same; both scorers together, "
        "evaluate with the base model's part, loading a model not included; of a stage that was interrupted, and of pairs that were scored before, only what was left to do. This run: the wall clock of the run itself, which found in the store what others had computed.",
        "Key: the column run of LOGS, whose table runs holds every setting, library and store key of that run.",
        f"{MISSING}: the run has no such stage. The paper gives no cost.",
        *([f"Runs left out: {'; '.join(out)}."] if out else [])])  # fmt: skip


def spent(seconds: Mapping[str, float], stage: str) -> float | None:
    """Seconds of a stage with all its parts (`score_weak`, `train_seed1`, `evaluate_solutions`); models are no part."""
    parts = [value for name, value in seconds.items() if name == stage or name.startswith(f"{stage}_")]
    return sum(parts) if parts else None


def _row(logs: Logs, run: Run) -> list[str]:
    seconds = json.loads(run["seconds"])
    tokens = pc.sum(logs.training.filter(pc.equal(logs.training["run"], run["run"]))["tokens"]).as_py()
    return [label(run), f"{share(run):.1%}", f"{run['selected']:,}", str(run["seed"]), *(_seconds(spent(seconds, stage)) for stage in STAGES),
            f"{tokens:,}" if tokens else MISSING, _seconds(seconds.get("total")), run["run"]]  # fmt: skip


def _seconds(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.3f}" if value < 1 else f"{value:,.1f}"
