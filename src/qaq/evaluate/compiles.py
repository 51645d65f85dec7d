"""A program of its own, `python -I compiles.py FILE SECONDS BYTES`: which of FILE's programs (JSON, one a line) compile.

Nothing is run. It stands in a process of its own because a text can make the compiler itself use up all memory or time, or
crash. Says `ready`, then 1 or 0 for each program as soon as it is known: where the answers end is the one that ended it.
"""

import json
import resource
import sys
import warnings


def compiles(source: str) -> bool:
    """Whether Python accepts it; what is too deep or too large for the compiler it does not accept."""
    try:
        compile(source, "solution.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError):
        return False
    return True


def main() -> None:
    file, seconds, memory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    print("ready", flush=True)
    with open(file, encoding="ascii") as lines:
        for line in lines:
            used = resource.getrusage(resource.RUSAGE_SELF)
            until = int(used.ru_utime + used.ru_stime) + seconds + 1
            resource.setrlimit(
                resource.RLIMIT_CPU, (until if hard == resource.RLIM_INFINITY else min(until, hard), hard)
            )
            print(int(compiles(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
