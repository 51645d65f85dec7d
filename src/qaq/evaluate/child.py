"""Runs one program; started as a script by `sandbox`, alone in its process, and never imported.

argv: the descriptor to report on, processor seconds, address space in bytes, largest file in bytes, most processes (0:
no limit of ours). Standard input: one line with the token, then the program. It reports "started", and the token after
the program's last statement: a program that ends the process early, in whatever way, has not passed.
"""

import os
import resource
import sys
import types


def limit(cpu: int, memory: int, file: int, processes: int) -> None:
    """Hard limits, so that the program cannot lift them again."""
    wanted = {resource.RLIMIT_CPU: cpu, resource.RLIMIT_AS: memory, resource.RLIMIT_FSIZE: file,
              resource.RLIMIT_CORE: 0}  # fmt: skip
    if processes:
        wanted[resource.RLIMIT_NPROC] = processes
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        resource.setrlimit(kind, (value, value))


def main() -> None:
    channel, *limits = map(int, sys.argv[1:])
    os.set_inheritable(channel, False)
    token, _, program = sys.stdin.buffer.read().partition(b"\n")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    limit(*limits)
    os.write(channel, b"started\n")
    module = types.ModuleType("solution")  # a registered module: dataclasses and pickle look themselves up by name
    sys.modules["solution"] = module
    exec(compile(program, "solution.py", "exec"), module.__dict__)
    os.write(channel, token)


main()
