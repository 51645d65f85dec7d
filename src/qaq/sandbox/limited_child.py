"""A program of its own, `python -I limited_child.py ROWS FILE FUNCTION SECONDS BYTES`: see `limited`.

Says `ready`, then what FILE's FUNCTION makes of each of ROWS as soon as it is known (JSON, one a line): where the answers end
is the row that ended it.
"""

import json
import resource
import runpy
import sys
import warnings
from typing import Any


def main() -> None:
    rows, file, name, seconds, memory = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    warnings.simplefilter("ignore")
    function = runpy.run_path(file)[name]
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    print("ready", flush=True)
    with open(rows, encoding="ascii") as lines:
        for line in lines:
            used = resource.getrusage(resource.RUSAGE_SELF)
            until = int(used.ru_utime + used.ru_stime) + seconds + 1
            resource.setrlimit(
                resource.RLIMIT_CPU, (until if hard == resource.RLIM_INFINITY else min(until, hard), hard)
            )
            print(answered(function, line), flush=True)


def answered(function: Any, line: str) -> str:
    """JSON; null for what is too deep or too large."""
    try:
        return json.dumps(function(*json.loads(line)))
    except (MemoryError, RecursionError):
        return "null"


if __name__ == "__main__":
    main()
