"""Results kept by what determines them, so that nothing is computed twice and nothing stale is ever met.

An entry's key is the SHA-256 of {stage, version, settings, digests of the inputs}. It is built in a temporary sibling
under a lock and renamed last: a directory that exists under its key is complete. Its files' digests lie in entry.json,
and it is served only while they hold. Timings and machine facts lie beside the results and never enter a key.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


def canonical(value: Any) -> Any:
    """`value` in the one JSON form that is hashed. TypeError for what has no stable form, naming it."""
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): canonical(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    raise TypeError(f"{value!r} of {type(value).__name__} has no stable form: pass numbers, text, lists or mappings")


def fingerprint(value: Any) -> str:
    """SHA-256 hex of the canonical JSON of `value`."""
    return hashlib.sha256(json.dumps(canonical(value), sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 hex of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(root: Path) -> dict[str, str]:
    """SHA-256 hex of every file under `root`, by relative name; hidden ones (locks) do not count."""
    files = sorted(p for p in Path(root).rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(p.relative_to(root)): file_digest(p) for p in files}


def tree_digest(root: Path) -> str:
    """SHA-256 hex over the relative names and bytes of every file under `root`."""
    return fingerprint(digests(root))


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # a disk, a quota, a limit on a file


class DiskFull(OSError):
    """No room for a result; the message says where, how much is free there and the way out."""


@contextmanager
def room(folder: Path, what: str) -> Iterator[None]:
    """Raises DiskFull, in the name of `what` in `folder`, when a disk or a quota is full."""
    try:
        yield
    except DiskFull:  # told already, by who knew more
        raise
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise OSError(
                errno.ENOSYS, f"the disk of {folder} has no file locks: set store_dir to one that has"
            ) from error
        if error.errno not in FULL:
            raise
        free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
        raise DiskFull(f"no room for {what} in {folder}, where {free:,} bytes are free ({error}): free some, or set store_dir "
                       "and hydra.run.dir to another disk. What is finished is kept: run again to go on") from error  # fmt: skip


def lock(path: Path) -> FileLock:
    """A lock that goes with its process. A marker file in its place, left by a process killed on another machine, would stay."""
    return FileLock(path, fallback_to_soft=False)


@contextmanager
def turn(path: Path, what: str) -> Iterator[None]:
    """Hold the lock at `path`; that another process has it, and so `what` has to wait, is logged."""
    held = lock(path)
    try:
        held.acquire(timeout=0)
    except Timeout:
        log.info("%s: another process is at it; waiting for it to end", what)
        held.acquire()
    try:
        yield
    finally:
        held.release()


@dataclass(frozen=True)
class Entry:
    """A complete result: its key, its directory, whether it was there already, and the seconds its making took."""

    key: str
    path: Path
    reused: bool
    seconds: float


class Store:
    """Entries under `root`/stage/key; `facts` are written into each entry made. Safe for several processes: one computes, the others wait."""

    def __init__(self, root: Path, facts: Mapping[str, Any] | None = None) -> None:
        self.root, self.facts = Path(root).resolve(), dict(facts or {})

    def entry(self, stage: str, version: int, settings: Mapping[str, Any], inputs: Mapping[str, str],
              build: Callable[[Path], None]) -> Entry:  # fmt: skip
        """The entry for these settings and input digests, made by `build(directory)` if it is not there."""
        what, place = self._place(stage, version, settings, inputs)
        key = place.name
        place.parent.mkdir(parents=True, exist_ok=True)
        with room(place.parent, f"{stage} {key}"), turn(place.with_name(f".{key}.lock"), f"{stage} {key}"):
            if place.is_dir() and _sound(place):
                log.info("%s %s: found, nothing to do", stage, key)
                return Entry(key, place, True, _made(place)["seconds"])
            log.info("%s %s: computing", stage, key)
            seconds = _build(place, {**what, **self.facts}, build)
        log.info("%s %s: done in %.1f s", stage, key, seconds)
        return Entry(key, place, False, seconds)

    def holds(self, stage: str, version: int, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> bool:
        """Whether `entry` would find it made."""
        return self._place(stage, version, settings, inputs)[1].is_dir()

    def _place(self, stage: str, version: int, settings: Mapping[str, Any],
               inputs: Mapping[str, str]) -> tuple[dict[str, Any], Path]:  # fmt: skip
        what = {"stage": stage, "version": version, "settings": canonical(settings), "inputs": canonical(inputs)}
        return what, self.root / stage / fingerprint(what)[:24]


def _build(place: Path, what: dict[str, Any], build: Callable[[Path], None]) -> float:
    with _sibling(place) as scratch:
        start = time.monotonic()
        build(scratch)
        seconds = time.monotonic() - start
        made = {**what, "seconds": seconds, "files": digests(scratch)}
        (scratch / "entry.json").write_text(json.dumps(made, indent=1) + "\n")
        scratch.rename(place)
    return seconds


def _sound(place: Path) -> bool:
    """Whether an entry's files are as they were made; an entry with one that is not is set aside."""
    try:
        expected = _made(place).get("files", {})  # none were kept before there was this check
        found = digests(place)
        altered = [name for name in expected if found.get(name) != expected[name]]
    except (FileNotFoundError, ValueError):  # a torn entry.json
        altered = ["entry.json"]
    if altered:
        aside = place.with_name(f"{place.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        place.rename(aside)
        log.warning(
            "%s: %s is not what was written there: set aside as %s, made again", place, ", ".join(altered), aside
        )
    return not altered


@contextmanager
def _sibling(place: Path) -> Iterator[Path]:
    """A fresh directory on the same disk; what a killed process left of an earlier one is cleared first."""
    for old in place.parent.glob(f".{place.name}.tmp-*"):  # we hold the lock, so no living process owns it
        shutil.rmtree(old)
    scratch = Path(tempfile.mkdtemp(prefix=f".{place.name}.tmp-", dir=place.parent))
    os.chmod(scratch, 0o755)
    try:
        yield scratch
    finally:
        if scratch.exists():
            shutil.rmtree(scratch)


def _made(place: Path) -> dict[str, Any]:
    return json.loads((place / "entry.json").read_text())
