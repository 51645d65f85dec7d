"""One node's ranks: `python -m qaq.launch.node` with torchrun's own options.

torchrun as it is, with two additions. LOG_DIR/failed.json says which ranks ended badly, how, and where their last words
are; torchrun itself prints that, for people, and under several nodes only some of it. And it ends when whoever started it is
gone, by whatever way: its input then ends. A remote shell does not hand on a signal, but it does hand on that.
"""

import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qaq.launch.work import FAILED, end_with_input

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def main(options: list[str]) -> int:
    """Exit status: 0 all ranks of this node ended well."""
    end_with_input()
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    args = run.parse_args(options)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // int(args.nproc_per_node))))
    os.environ.setdefault("TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE", "[rank ${rank}]: ")
    try:
        run.run(args)
    except ChildFailedError as error:
        logs = Path(args.log_dir)
        (logs / FAILED).write_text(json.dumps(_failures(error, logs), indent=1) + "\n")
        return 1
    except SignalException as stop:
        return 128 + stop.sigval
    return 0


def _failures(error: "ChildFailedError", logs: Path) -> list[dict[str, Any]]:
    """{rank, host, exit (negative: a signal), seen (Unix seconds), spoke (when it last wrote), log} of each bad end."""
    found = []
    for rank, failure in error.failures.items():
        (log,) = logs.glob(f"*/attempt_0/{failure.local_rank}/stderr.log")
        found.append({"rank": rank, "host": socket.gethostname(), "exit": failure.exitcode, "seen": failure.timestamp,
                      "spoke": log.stat().st_mtime, "log": str(log)})  # fmt: skip
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
