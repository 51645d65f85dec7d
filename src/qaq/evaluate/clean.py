"""A program of its own: EvalPlus's sanitize on every program of a file, each within a limit of processor time.

    python -P clean.py PROGRAMS CLEANED      both JSONL: {program, entry_point} in, the cleaned text or null out, in order

It goes on behind what CLEANED already holds. sanitize keeps the longest run of lines that Python can parse, and of it the
imports and the definitions that the entry point needs. It looks for that run by parsing all of them, which for 400 lines takes
over a minute; here the longest come first and the first that parses ends the search, with the same answer. A program that
still takes too long, or cannot be read at all, is null. One that brings the interpreter down ends this process, not its caller.
"""

import json
import signal
import sys
from pathlib import Path
from types import FrameType

from evalplus import sanitize
from evalplus.syncheck import syntax_check

_LIMIT = 10.0  # seconds of processor time for a program


class _TooLong(Exception):
    """The limit is reached."""


def code_extract(text: str) -> str:
    """As evalplus.sanitize.code_extract: of all runs of two or more lines that parse the one with the most lines that are
    not blank, of equal ones the first; the first line if there is none."""
    lines = text.split("\n")
    filled = [0]
    for line in lines:
        filled.append(filled[-1] + bool(line.strip()))
    runs = [(i, j) for i in range(len(lines)) for j in range(i + 2, len(lines) + 1) if filled[j] > filled[i]]
    runs.sort(key=lambda run: filled[run[0]] - filled[run[1]])  # stable: of equal ones the first stays first
    found = next((run for run in runs if syntax_check("\n".join(lines[run[0] : run[1]]))), (0, 1))
    return "\n".join(lines[found[0] : found[1]])


def cleaned(program: str, entry_point: str) -> str | None:
    """What sanitize makes of `program`; None where it makes nothing of it."""
    signal.setitimer(signal.ITIMER_PROF, _LIMIT)
    try:
        return sanitize.sanitize(program, entry_point)
    except (_TooLong, ValueError, RecursionError, MemoryError):  # ValueError: a lone surrogate
        return None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _stop(number: int, frame: FrameType | None) -> None:
    raise _TooLong


def main(programs: Path, out: Path) -> None:
    """Append a line to `out` for every program that has none yet."""
    sanitize.code_extract = code_extract
    signal.signal(signal.SIGPROF, _stop)
    done = len(out.read_text().splitlines()) if out.exists() else 0
    with programs.open(encoding="utf-8") as lines, out.open("a", encoding="utf-8") as answers:
        for row in [json.loads(line) for line in lines][done:]:
            print(json.dumps(cleaned(row["program"], row["entry_point"])), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
