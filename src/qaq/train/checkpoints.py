"""Checkpoints that can be trusted: a manifest with digests is written last, and only what it describes is read again.

The Trainer writes `checkpoint-N/` file by file, so a kill leaves half a one, and it would take the highest N whatever it
holds. Here a checkpoint is complete when its `manifest.json` is there, and sound when every file has the size and sha256 the
manifest gives. Anything else is set aside under another name.
"""

import hashlib
import json
import logging
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"


def complete(folder: Path, facts: dict[str, Any]) -> None:
    """Mark what lies in `folder` as a whole checkpoint: the manifest holds `facts` and {file: [bytes, sha256]}."""
    manifest = {**facts, "files": _digests(folder)}
    scratch = folder / f".{MANIFEST}"
    with scratch.open("w") as out:
        json.dump(manifest, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    scratch.rename(folder / MANIFEST)


def newest(work: Path, facts: dict[str, Any]) -> tuple[Path, dict[str, Any]] | None:
    """(folder, manifest) of the furthest sound checkpoint whose manifest says `facts`; the rest of those beyond it is set
    aside, each with its reason in the log."""
    for folder in sorted(work.glob("checkpoint-*[0-9]"), key=_step, reverse=True):
        manifest, fault = _sound(folder, facts)
        if not fault:
            return folder, manifest
        aside = _aside(folder)
        folder.rename(aside)
        log.warning("%s is no checkpoint to go on from (%s): set aside as %s", folder.name, fault, aside.name)
    return None


def prune(work: Path, keep: int) -> None:
    """Remove all but the `keep` furthest complete checkpoints: what is behind the furthest, whole or not, and what was set
    aside. What is beyond it is left for `newest` to judge."""
    marked = sorted((file.parent for file in work.glob(f"checkpoint-*[0-9]/{MANIFEST}")), key=_step)
    behind = [folder for folder in work.glob("checkpoint-*[0-9]") if _step(folder) < _step(marked[-1])]
    for folder in {*behind, *work.glob("aside-*")} - {*marked[-keep:]}:
        (folder / MANIFEST).unlink(missing_ok=True)  # from here on a kill leaves an incomplete one, not a false one
        shutil.rmtree(folder)


def _sound(folder: Path, facts: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """(manifest, what is wrong with the checkpoint; nothing if it is sound)."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        written = dict(manifest["files"])
    except FileNotFoundError:
        return {}, f"it has no {MANIFEST}: it was not written to its end"
    except (ValueError, TypeError, KeyError) as error:
        return {}, f"its {MANIFEST} cannot be read: {error}"
    for name, wanted in facts.items():
        if manifest.get(name) != wanted:
            return {}, f"its {name} is {manifest.get(name)}, this run's is {wanted}"
    found = _digests(folder)
    for name, digest in written.items():
        if name not in found:
            return {}, f"{name} is missing"
        if found[name] != digest:
            return {}, f"{name} is not what was written: {found[name][0]:,} of {digest[0]:,} bytes, or other ones"
    return manifest, ""


def _digests(folder: Path) -> dict[str, list[Any]]:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name not in (MANIFEST, f".{MANIFEST}"))
    with ThreadPoolExecutor(4) as threads:
        return dict(zip((str(file.relative_to(folder)) for file in files), threads.map(_digest, files), strict=True))


def _digest(file: Path) -> list[Any]:
    with file.open("rb") as data:
        return [file.stat().st_size, hashlib.file_digest(data, "sha256").hexdigest()]


def _step(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _aside(folder: Path) -> Path:
    """A free name; a checkpoint of the same step may have been set aside before."""
    number = 1
    while (place := folder.with_name(f"aside-{number}-{folder.name}")).exists():
        number += 1
    return place
