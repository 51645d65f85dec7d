"""Where a model's code runs: in a process of its own, behind the walls that this machine allows, judged from outside.

parent.py   starts the process, reads its reports, ends it
child.py    the process; it holds no expected value
walls.py    closes it in
values.py   what it returned, as bytes and back
answers.py  the benchmarks' own solutions among the installed files, which it must not see

limited.py  runs none: a pure function of ours asked about many texts, any of which may crash Python's parser
"""

from qaq.sandbox.parent import Call, Judge, Outcome, Output, SandboxFailed, allowed, level, require, run
from qaq.sandbox.walls import LEVELS

__all__ = ["LEVELS", "Call", "Judge", "Outcome", "Output", "SandboxFailed", "allowed", "level", "require", "run"]
