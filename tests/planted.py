"""What a hostile program must neither reach nor change, and a look at whether it did."""

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from hostile import ANSWERS

from qaq.sandbox.answers import answers

CONTENT = "do not touch: " + ANSWERS


@contextlib.contextmanager
def planted(folder: Path) -> Iterator[dict[str, object]]:
    """What a solution must not reach, in an empty folder: constants that say where it is, to be put before a program."""
    (folder / "file").write_text(CONTENT)
    os.environ["PLANTED"] = ANSWERS
    process = subprocess.Popen(["sleep", "1000"])  # with PLANTED in its environment
    with contextlib.ExitStack() as stack:
        tcp, local, abstract = socket.socket(), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        path = str(folder / "s")
        for server, address in ((tcp, ("127.0.0.1", 0)), (local, path), (abstract, "\0" + path[-90:])):
            stack.enter_context(server).bind(address)
            server.listen()
            threading.Thread(target=serve, args=[server], daemon=True).start()
        yield {"FILE": str(folder / "file"), "FOLDER": str(folder), "PORT": tcp.getsockname()[1], "SOCKET": path,
               "PROCESS": process.pid, "SOLUTIONS": str(answers()[0])}  # fmt: skip
        for server in (tcp, local, abstract):
            server.shutdown(socket.SHUT_RDWR)
    process.kill()
    process.wait()
    del os.environ["PLANTED"]


def serve(server: socket.socket) -> None:
    """The answers for everyone who asks."""
    with contextlib.suppress(OSError):
        while True:
            guest, _ = server.accept()
            guest.sendall(ANSWERS.encode())
            guest.close()


def check_untouched(constants: dict[str, object]) -> None:
    """What was planted is still there as it was."""
    file, folder = Path(constants["FILE"]), constants["FOLDER"]
    assert not Path(f"/proc/{constants['PROCESS']}/stat").read_text().rpartition(")")[2].startswith(" Z")
    assert file.read_text() == CONTENT
    assert file.stat().st_mode & 0o400
    assert sorted(os.listdir(folder)) == ["file", "s"]


def preamble(constants: dict[str, object]) -> str:
    """Where everything is, as the first lines of a program."""
    return "".join(f"{key} = {value!r}\n" for key, value in constants.items())


def left_behind(mark: str) -> list[str]:
    """Processes that inherited an environment with `mark`; a killed one may take a moment to go."""
    patience = time.monotonic() + 10
    while (found := inheriting(mark)) and time.monotonic() < patience:
        pass
    return found


def inheriting(mark: str) -> list[str]:
    """Processes with `mark` in their environment."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it ended while we looked, or is not ours
            if mark.encode() in file.read_bytes():
                found.append(file.with_name("cmdline").read_text())
    return found
