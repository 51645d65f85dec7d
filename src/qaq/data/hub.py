"""A data set of the Hugging Face hub at a pinned commit, or a local directory that `datasets` can read.

Streamed: the first `data.limit` records need no more than their own download.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qaq.data.record import Record, Source, of_value
from qaq.store import tree_digest

_COMMIT = re.compile(r"[0-9a-f]{40}")


def identity(settings: dict[str, Any]) -> dict[str, Any]:
    """What determines the records: the content of a directory, or hub id and commit; with the subset and the split.

    ValueError for a hub id without a commit: its meaning could change under a stored result.
    """
    id, revision = settings["id"], settings["revision"]
    if not settings["split"]:
        raise ValueError(f"data.id={id}: set data.split (for example data.split=train)")
    part = {name: settings[name] for name in ("subset", "split")}
    if Path(id).is_dir():
        return {"tree": tree_digest(Path(id)), **part}
    if not _COMMIT.fullmatch(revision or ""):
        raise ValueError(f"data.id={id}: data.revision={revision!r} is not a 40-digit commit; pin one, so that stored "
                         "results keep their meaning (or give a local directory as data.id)")  # fmt: skip
    return {"id": id, "revision": revision, **part}


def source(settings: dict[str, Any]) -> Source:
    """The records of the split, in its order."""
    identity(settings)
    return Source(_records(settings))


def _records(settings: dict[str, Any]) -> Iterator[Record]:
    from datasets import load_dataset

    local = Path(settings["id"]).is_dir()
    try:
        rows = load_dataset(settings["id"], settings["subset"], split=settings["split"], streaming=True,
                            revision=None if local else settings["revision"])  # fmt: skip
        yield from map(of_value, rows)
    except Exception as error:  # datasets raises a different class for each way a download can fail
        raise ValueError(_unreadable(settings, local, error)) from error


def _unreadable(settings: dict[str, Any], local: bool, error: Exception) -> str:
    where = "" if local else f" at revision {settings['revision']}"
    part = f"subset {settings['subset']}, split {settings['split']}"
    way_out = ("check its files, or give one of them as data=jsonl data.path=FILE" if local else
               "check the id, the revision and the network; or download it where there is one and give the directory "
               "as data.id=DIR, or a file of it as data=jsonl data.path=FILE")  # fmt: skip
    return f"cannot read data.id={settings['id']}{where} ({part}): {type(error).__name__}: {error}\n{way_out}"
