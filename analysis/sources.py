"""Where runs lie: directories of jobs, offline W&B folders, W&B itself. Each gives the same files, read in the same way.

A job's directory holds result.json and the tables it names. A W&B run mirrors them in the folder `run` of its files (qaq.tracking):
one per stage, with result.json as it stood when the stage began, and the job's result. So nothing is read from W&B's history,
which the service thins out when it is asked for by `history`: files come whole or not at all.
"""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import wandb_log
from qaq.tracking import MIRROR, RESULT

log = logging.getLogger(__name__)

ONLINE = "wandb:"  # ENTITY/PROJECT or ENTITY/PROJECT/GROUP follows
RUNNING = "running"  # the status that a job writes when it starts


@dataclass(frozen=True)
class Attempt:
    """What one start of a job left: its result.json, the folder with its tables; `torn`: why W&B does not know its end."""

    result: dict[str, Any]
    folder: Path
    torn: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the job wrote its last words."""
        return self.result["status"] != RUNNING


def attempts(sources: Iterable[str], scratch: Path) -> list[Attempt]:
    """Every start of a job found in `sources`, once; files from W&B itself are put into `scratch`.

    ValueError for a source that holds none.
    """
    held: dict[tuple, Attempt] = {}
    for source in sources:
        found = list(
            _online(source.removeprefix(ONLINE), scratch) if source.startswith(ONLINE) else _local(Path(source))
        )
        if not found:
            raise ValueError(f"{source} holds no run: name the directory of a run or of a sweep, a W&B folder, or "
                             f"{ONLINE}ENTITY/PROJECT[/GROUP]")  # fmt: skip
        for one in found:
            start = one.result["started"] or str(one.folder)
            key = (one.result["group"], one.result["name"], start)
            if key not in held or _tells_more(one, held[key]):
                held[key] = one
    return list(held.values())


def _tells_more(one: Attempt, other: Attempt) -> bool:
    return (one.ended, one.torn is None) > (other.ended, other.torn is None)


def _local(place: Path) -> Iterator[Attempt]:
    """`place` itself or what lies below it. A job's directory stands for the W&B folders in it."""
    logs = sorted(place.glob("run-*.wandb"))
    if (place / RESULT).is_file():
        yield Attempt(_named(_said(place), place), place)
    elif logs:
        yield from _offline(place, logs[0])
    elif place.is_dir() and not (place / "entry.json").exists():  # of the store
        for child in sorted(place.iterdir()):
            if child.is_dir() and not child.is_symlink():
                yield from _local(child)


def _said(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / RESULT).read_text())
    except ValueError as error:
        raise ValueError(f"{folder / RESULT} is damaged: {error}") from error


def _named(result: dict[str, Any], place: Path) -> dict[str, Any]:
    """result.json before it held the job's names: they are its directory's."""
    swept = (place.parent / "multirun.yaml").exists()
    group = place.resolve().parent.name if swept else place.resolve().name
    return {"name": place.resolve().name, "group": group, "started": None, "overrides": [], "sweep": [], **result}


def _offline(place: Path, file: Path) -> Iterator[Attempt]:
    """An offline W&B run."""
    told, folder = wandb_log.read(file), place / "files" / MIRROR
    if (folder / RESULT).is_file():
        yield Attempt(_said(folder), folder, told.torn)
    else:
        log.warning("%s: %s, without %s/%s: left out", place, told.name or "a W&B run of unknown name", MIRROR, RESULT)


def _online(path: str, scratch: Path) -> Iterator[Attempt]:
    """The runs of ENTITY/PROJECT[/GROUP]. ValueError, with W&B's words, where it does not let us in."""
    import wandb

    entity, project, group = [*path.split("/", 2), "", ""][:3]
    try:
        runs = list(wandb.Api().runs(f"{entity}/{project}", filters={"group": group} if group else {}))
    except (wandb.Error, ValueError) as refusal:
        raise ValueError(f"{ONLINE}{path}: {refusal}") from refusal
    for run in runs:
        place = scratch / entity / project / run.id
        (place / MIRROR).mkdir(parents=True, exist_ok=True)
        try:
            for file in run.files():
                if file.name.startswith(f"{MIRROR}/"):
                    file.download(root=str(place), replace=True).close()
        except (wandb.Error, OSError) as failure:  # requests' errors are OSErrors
            raise ValueError(f"{ONLINE}{path}: the files of {run.name} do not come: {failure}") from failure
        if not (place / MIRROR / RESULT).is_file():
            log.warning("%s%s/%s: %s, without %s/%s: left out", ONLINE, entity, project, run.name, MIRROR, RESULT)
            continue
        torn = None if run.state in ("finished", "failed") else f"W&B calls it {run.state}"
        yield Attempt(_said(place / MIRROR), place / MIRROR, torn)
