"""What endurance.py does to files: spoils them, alters a model by one bit, gives them a disk that is full."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

NAMESPACE = "QAQ_ENDURANCE_NAMESPACE"  # environment variable: we are in a namespace of our own


def damage(file: Path, how: str, chance: random.Random) -> None:
    """Spoil a file's bytes."""
    spoilt = bytearray(file.read_bytes())
    place = chance.randrange(len(spoilt))
    if how == "one bit":
        spoilt[place] ^= 1 << chance.randrange(8)
    elif how == "zeros":
        spoilt[: max(64, place)] = bytes(max(64, place))
    else:
        del spoilt[0 if how == "empty" else place :]
    file.write_bytes(spoilt)


def mount(folder: Path, options: str) -> str | None:
    """A tmpfs with these options; why not, if not."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stderr.strip() or "mount failed") if done.returncode else None


def allocated(store: Path) -> int:
    """Bytes a file system of 4 KiB blocks needs for the files."""
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in store.rglob("*") if file.is_file())


def altered_model(model: Path, out: Path) -> Path:
    """The model with one bit of its weights changed."""
    shutil.copytree(model, out)
    with max(out.iterdir(), key=lambda file: file.stat().st_size).open("r+b") as weights:
        weights.seek(-2, os.SEEK_END)
        (byte,) = weights.read(1)
        weights.seek(-2, os.SEEK_END)
        weights.write(bytes([byte ^ 1]))
    return out


def own_namespace() -> None:
    """Start again where mounting is ours, and gone with us, if the system lets us."""
    flags = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    if (
        os.environ.get(NAMESPACE)
        or subprocess.run(["unshare", *flags, "true"], capture_output=True, check=False).returncode
    ):
        return
    os.environ[NAMESPACE] = "1"
    os.execvp("unshare", ["unshare", *flags, sys.executable, *sys.argv])
