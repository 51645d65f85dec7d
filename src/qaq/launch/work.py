"""What is handed to several workers, and the environment each of them gets."""

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[2]
LOG_FILE = "QAQ_LOG"  # environment variable: where a worker's log lines go besides the screen
# glibc gives every large tensor back to the system and faults it in again: keeping the memory made the reading of
# 32 x 256 tokens by SmolLM2 1.4 times as fast, of 4 x 256 tokens 5 times.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
# GNU OpenMP's threads spin at every barrier; on cores that others use too they would spin for milliseconds. This many
# rounds cost nothing on a quiet machine (measured) and let go soon on a busy one.
_SHARE_CORES = {"GOMP_SPINCOUNT": "10000"}


@dataclass(frozen=True)
class Work:
    """A worker module, the folder of its submission (request, logs), and LaunchConfig's values."""

    module: str
    folder: Path
    settings: dict[str, Any]

    @property
    def request(self) -> Path:
        """The JSON file every worker reads."""
        return self.folder / "request.json"


def environment(log_file: Path | None) -> dict[str, str]:
    """The environment of a worker that this process starts."""
    found = {
        **_KEEP_MEMORY,
        **_SHARE_CORES,
        **os.environ,
        "PYTHONPATH": python_path(),
        "TOKENIZERS_PARALLELISM": "true",
    }
    if not sys.stderr.isatty():
        found["TQDM_DISABLE"] = "1"  # the libraries' own bars; ours become plain lines (qaq.progress)
    if log_file:
        found[LOG_FILE] = str(log_file)
    return found


def as_shell(command: list[str], environment: dict[str, str]) -> str:
    """`command` as a shell line, with what `environment` has beyond this process's."""
    new = [f"{name}={value}" for name, value in sorted(environment.items()) if os.environ.get(name) != value]
    return shlex.join(["env", *new, *command])


def python_path() -> str:
    """PYTHONPATH with this source first."""
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(SOURCE)]
    return os.pathsep.join([str(SOURCE), *inherited])
