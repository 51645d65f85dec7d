"""Training: do all engines learn the same, does a killed one go on as if nothing had been, and how fast is it?

    python experiments/bench/training.py MODEL_DIR PAIRS [engines] [kills] [speed]

MODEL_DIR is a directory transformers loads; PAIRS is any file `data=jsonl` takes. Without a part, all three run.

engines  two epochs of `--rows` rows: the loss of every update in one process, with two ranks under DDP and ZeRO-1, 2 and 3, and
         with packing; the largest difference to the one process. In float32, and in bfloat16, where each engine rounds elsewhere.
kills    the same training, SIGKILLed in a step, while it writes a checkpoint, and between checkpoints, and then continued; and
         continued past an optimizer file cut short and a checkpoint without its mark. Largest differences of the losses and of
         the final weights to the training nobody touched.
speed    bfloat16: tokens a second (median of the updates but the first) of plain PyTorch and of DeepSpeed in turn, `--rounds`
         times, and the share of the rate of a large matrix product measured in the same process.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

import yaml  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from qaq import data, tables  # noqa: E402
from qaq.launch.work import environment  # noqa: E402

PARTS = ("engines", "kills", "speed")


def main() -> None:
    """Prints one JSON object."""
    asked = _arguments()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(asked, Path(scratch))
        print(json.dumps({part: getattr(bench, part)() for part in asked.parts or PARTS}, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pairs_file", type=Path)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    parser.add_argument("--rows", type=int, default=18, help="an update takes 8; an epoch's last one is short")
    parser.add_argument("--rounds", type=int, default=2)
    return parser.parse_args()


class Bench:
    """Trainings of one model on the same rows."""

    def __init__(self, asked: argparse.Namespace, scratch: Path) -> None:
        self.asked, self.scratch = asked, scratch
        source = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/data/jsonl.yaml"))
        (scratch / "data").mkdir()
        data.load({**source, "path": str(asked.pairs_file), "limit": 200}, scratch / "data")
        self.pairs = tables.read(scratch / "data/examples.parquet", ["id", "query", "answer"])

    def engines(self) -> dict[str, Any]:
        """Largest difference of a loss (nats per token) to one process."""
        found = {}
        for dtype in ("float32", "bfloat16"):
            alone = self.train(f"alone {dtype}", dtype=dtype)
            found[dtype] = {"losses": alone}
            for name, ranks, engine, packing in (("packing", 1, "none", True), ("DDP", 2, "none", False),
                                                 ("ZeRO-1", 2, "zero1", False), ("ZeRO-2", 2, "zero2", False),
                                                 ("ZeRO-3", 2, "zero3", False)):  # fmt: skip
                losses = self.train(f"{name} {dtype}", ranks=ranks, engine=engine, packing=packing, dtype=dtype)
                found[dtype][name] = _apart(losses, alone)
        return found

    def kills(self) -> dict[str, Any]:
        """Largest differences to the training nobody touched; what the continued one said of its start."""
        self.train("whole", save_steps=2)
        moments: dict[str, Callable[[Path], bool]] = {
            "in a step": lambda work: _steps(work) >= 3,
            "while a checkpoint is written": lambda work: any((work / "checkpoint-4").glob("*.safetensors")),
            "between checkpoints": lambda work: (work / "checkpoint-2/manifest.json").exists(),
        }
        found = {}
        for name, moment in moments.items():
            self.killed(name, moment)
            found[name] = self.continued(name)
        for name, harm in (("optimizer cut short", _cut), ("mark missing", _unmark)):
            self.killed(name, lambda work: (work / "checkpoint-4/manifest.json").exists())
            harm(self.scratch / name / "work/checkpoint-4")
            found[name] = self.continued(name)
        return found

    def speed(self) -> list[dict[str, Any]]:
        """Medians of each run's updates but the first."""
        found = []
        for number in range(self.asked.rounds):
            for engine in ("none", "zero2"):
                name = f"{engine} {number}"
                self.train(name, engine=engine, rows=48, dtype="bfloat16", epochs=1)
                lines = [json.loads(line) for line in (self.scratch / name / "training.jsonl").open()][1:]
                middle = {
                    key: statistics.median(line[key] for line in lines)
                    for key in ("tokens_per_second", "share_of_peak")
                }
                found.append({"engine": engine, **middle, "memory_bytes": lines[-1]["memory_bytes"]})
        return found

    def train(self, name: str, **changes: Any) -> list[float]:
        """The losses of a training to its end."""
        process = self.start(name, **changes)
        if process.wait():
            raise SystemExit((self.scratch / name / "log").read_text()[-4000:])
        return [json.loads(line)["loss"] for line in (self.scratch / name / "training.jsonl").open()]

    def start(
        self, name: str, ranks: int = 1, engine: str = "none", rows: int | None = None, **changes: Any
    ) -> subprocess.Popen:
        """A training in a process group of its own, writing under the name."""
        out = self.scratch / name
        (out / "work").mkdir(parents=True, exist_ok=True)
        tables.write(self.pairs.slice(0, rows or self.asked.rows), out / "rows.parquet")
        deepspeed = yaml.safe_load((ROOT / f"conf/train/deepspeed/{engine}.yaml").read_text())
        settings = {**yaml.safe_load((ROOT / "conf/train/smoke.yaml").read_text()), "system_prompt": None, "deepspeed": deepspeed,
                    "seed": 0, "epochs": 2, "dtype": "float32", **changes}  # fmt: skip
        request = {"model": str(self.asked.model), "rows": str(out / "rows.parquet"), "settings": settings, "device": "auto",
                   "work": str(out / "work"), "out": str(out)}  # fmt: skip
        (out / "request.json").write_text(json.dumps(request))
        several = ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"] if ranks > 1 else []
        threads = str(max(1, len(os.sched_getaffinity(0)) // ranks))
        around = {**environment(None), "OMP_NUM_THREADS": threads}
        with (out / "log").open("a") as log:
            return subprocess.Popen([sys.executable, "-m", *several, "qaq.train", str(out / "request.json")], env=around,
                                    stdout=log, stderr=log, start_new_session=True)  # fmt: skip

    def killed(self, name: str, moment: Callable[[Path], bool]) -> None:
        """A training that is SIGKILLed at the first look at which `moment` holds."""
        process = self.start(name, save_steps=2)
        while not moment(self.scratch / name / "work"):
            if process.poll() is not None:
                raise SystemExit(f"{name}: the training ended before it could be killed")
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def continued(self, name: str) -> dict[str, Any]:
        """The same training again, to its end, beside the whole one."""
        losses = self.train(name, save_steps=2)
        whole = [json.loads(line)["loss"] for line in (self.scratch / "whole/training.jsonl").open()]
        ours, theirs = (load_file(self.scratch / one / "model/model.safetensors") for one in (name, "whole"))
        said = [line.split("] ", 1)[-1].strip() for line in (self.scratch / name / "log").open()
                if "goes on from" in line or "set aside" in line]  # fmt: skip
        return {"losses": _apart(losses, whole), "weights": max(float((ours[key] - theirs[key]).abs().max()) for key in theirs),
                "said": [line.replace(str(self.scratch / name), "") for line in said]}  # fmt: skip


def _apart(ours: list[float], theirs: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def _steps(work: Path) -> int:
    file = work / "training.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


def _cut(checkpoint: Path) -> None:
    os.truncate(checkpoint / "optimizer.pt", (checkpoint / "optimizer.pt").stat().st_size // 2)


def _unmark(checkpoint: Path) -> None:
    (checkpoint / "manifest.json").unlink()


if __name__ == "__main__":
    main()
