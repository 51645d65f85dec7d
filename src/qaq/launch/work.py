"""What is handed to several workers, and the environment each of them gets."""

import json
import logging
import os
import shlex
import signal
import stat
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

SOURCE = Path(__file__).resolve().parents[2]
LOG_FILE = "QAQ_LOG"  # environment variable: where a worker's log lines go besides the screen
FAILED = "failed.json"  # in torchrun's --log-dir: which ranks of a node ended badly
# glibc gives every large tensor back to the system and faults it in again: keeping the memory made the reading of
# 32 x 256 tokens by SmolLM2 1.4 times as fast, of 4 x 256 tokens 5 times.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 32), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
# GNU OpenMP's threads spin at every barrier; on cores that others use too they would spin for milliseconds. This many
# rounds cost nothing on a quiet machine (measured) and let go soon on a busy one.
_SHARE_CORES = {"GOMP_SPINCOUNT": "10000"}


# Settings of the libraries that have to hold on every machine of a run.
_FORWARDED = ("DS_", "FI_", "GLOO_", "HF_", "NCCL_", "OMP_", "TORCH_", "UCX_")


class DryRun(Exception):
    """What would have been started was printed, and nothing was started."""


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

    @property
    def log_file(self) -> Path:
        """run.log of the run whose work this is."""
        return self.folder.parents[1] / "run.log"


def hand_over(module: str, request: dict[str, Any], settings: dict[str, Any], run_dir: Path) -> Work:
    """The request in a folder of its own under `run_dir`/launch, one for every submission."""
    (run_dir / "launch").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{settings['name']}-", dir=run_dir.resolve() / "launch"))
    work = Work(module, folder, settings)
    work.request.write_text(json.dumps(request, indent=1) + "\n")
    return work


def warn_of_private_paths(work: Work, request: dict[str, Any]) -> None:
    """Say which of the paths that other machines will be given are probably on this one's own disk."""
    paths = [str(work.folder), *map(str, request.values())]
    private = [path for path in paths if path.startswith(tempfile.gettempdir() + "/")]
    if private:
        log.warning("%s: other machines do not see this disk as a rule; set hydra.run.dir and store_dir to a shared one",
                    ", ".join(private))  # fmt: skip


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


def elsewhere(log_file: Path) -> dict[str, str]:
    """What of that environment a worker on another machine is given."""
    own = {*_KEEP_MEMORY, *_SHARE_CORES, "PYTHONPATH", "TOKENIZERS_PARALLELISM", LOG_FILE}
    found = environment(log_file)
    return {name: found[name] for name in sorted(found) if name in own or name.startswith(_FORWARDED)}


def end_with_input() -> None:
    """End this process when its starter is gone, by whatever way: where its input is a pipe, that then ends. A terminal or
    /dev/null says nothing."""
    mode = os.fstat(0).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        threading.Thread(target=_watch_input, daemon=True).start()


def _watch_input() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def own_programs() -> str:
    """The shell command that puts this Python's programs first."""
    return f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"


def as_shell(command: list[str], environment: dict[str, str]) -> str:
    """`command` as a shell line, with what `environment` has beyond this process's."""
    new = [f"{name}={value}" for name, value in sorted(environment.items()) if os.environ.get(name) != value]
    return shlex.join(["env", *new, *command])


def python_path() -> str:
    """PYTHONPATH with this source first."""
    inherited = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(SOURCE)]
    return os.pathsep.join([str(SOURCE), *inherited])
