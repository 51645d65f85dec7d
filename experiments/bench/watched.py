"""Runs of the pipeline that are watched: what each of them read, kept, said and ended with.

Every run is `python src/main.py stages=[load,score]` in a process group of its own. Its workers note each text in a ledger just
before the model reads it; the note survives SIGKILL, so what was read twice is counted, not inferred.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

import pyarrow.parquet as pq  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402

from qaq import data, tables  # noqa: E402

LIKELIHOOD, METRICS = TABLES = ("likelihood.parquet", "metrics.parquet")
TOKENS_PER_SHARD = 512
LONG = 200_000  # tokens of the endless pair, at least

# Python runs this at the start of every process of a run.
LEDGER = """
import os, sys
if "qaq.score" in sys.orig_argv:
    from pathlib import Path
    from qaq.score.engine import Engine
    ledger = os.open(os.environ["QAQ_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    read = Engine._batch_nll
    def noted(self, rows):
        name = Path(self.texts.tokens.filename).parent.name
        lines = [f"{os.getpid()} {name} {self.texts.ids[row]} {self.texts.length[row]}\\n" for row in rows]
        os.write(ledger, "".join(lines).encode())
        return read(self, rows)
    Engine._batch_nll = noted
"""


class Read(NamedTuple):
    """A text that a model read."""

    worker: int
    part: str  # the pass
    id: str
    tokens: int


@dataclass
class Run:
    """One run of the pipeline: its process (the leader of its group), its directory and its store."""

    folder: Path
    store: Path
    process: subprocess.Popen
    peak: int = 0  # bytes, of the largest of its processes

    def end(self) -> int:
        """Wait; the exit status."""
        if self.process.returncode is None:
            _, status, used = os.wait4(self.process.pid, 0)
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.peak = used.ru_maxrss * 1024
        return self.process.returncode

    def ended(self) -> bool:
        """Whether it is over by now."""
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self) -> None:
        """SIGKILL to the whole group."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.end()

    def reads(self) -> list[Read]:
        """The ledger so far."""
        ledger = self.folder / "ledger"
        lines = ledger.read_text().splitlines() if ledger.is_file() else []
        return [Read(int(w), part, id, int(tokens)) for w, part, id, tokens in map(str.split, lines)]

    def lost(self) -> int:
        """Tokens that were read and whose likelihood no shard holds now."""
        kept = {text for shard in shard_files(self.store) for text in texts_of(shard)}
        return tokens([read for read in self.reads() if (read.part, read.id) not in kept])

    def said(self, *words: str) -> bool:
        """Whether it printed all of that."""
        return all(some in self.output() for some in words)

    def output(self) -> str:
        """What it printed."""
        return (self.folder / "output").read_text()

    def result(self) -> list[bytes]:
        """The bytes of its tables."""
        return [(self.folder / name).read_bytes() for name in TABLES]


@dataclass
class Bench:
    """The files every claim starts from. `whole` is the run nobody disturbed."""

    model: Path
    scratch: Path
    pairs: list[dict[str, str]]
    new: list[dict[str, str]]  # not among `pairs`
    kills: int
    random: random.Random
    number: Iterator[int] = field(default_factory=count)
    started: list[Run] = field(default_factory=list)

    def start(self, store: Path, *options: str, rows: Path | None = None, model: Path | None = None) -> Run:
        """A run, started."""
        folder = self.scratch / "runs" / str(next(self.number))
        folder.mkdir(parents=True)
        command = [sys.executable, str(ROOT / "src/main.py"), "stages=[load,score]", "data=jsonl", "data.query=query",
                   "data.answer=answer", f"data.path={rows or self.file}", "scorer=local", "tracking=off",
                   f"scorer.model.path={model or self.model}", f"scorer.tokens_per_shard={TOKENS_PER_SHARD}",
                   f"store_dir={store}", f"hydra.run.dir={folder}", *options]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(self.scratch), "QAQ_LEDGER": str(folder / "ledger")}
        with (folder / "output").open("w") as out:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       start_new_session=True)  # fmt: skip
        run = Run(folder, store, process)
        self.started.append(run)
        return run

    def stop(self) -> None:
        """End what still runs."""
        for run in self.started:
            if run.process.returncode is None:
                run.kill()

    def run(self, store: Path, *options: str, **changes: Path) -> Run:
        """A run to its end."""
        run = self.start(store, *options, **changes)
        run.end()
        return run

    def store(self, name: str) -> Path:
        """The path of a store."""
        return self.scratch / "stores" / name

    def copy(self, name: str) -> Path:
        """A store that holds what the undisturbed run made."""
        return shutil.copytree(self.whole.run.store, self.store(name))

    def write(self, name: str, rows: list[dict[str, str]]) -> Path:
        """A file of pairs."""
        file = self.scratch / name
        tables.write_jsonl(rows, file)
        return file

    @cached_property
    def file(self) -> Path:
        """The pairs."""
        return self.write("pairs.jsonl", self.pairs)

    @cached_property
    def ids(self) -> list[str]:
        """Of the pairs."""
        return [tables.pair_id(**pair) for pair in self.pairs]

    @cached_property
    def with_long(self) -> Path:
        """The pairs with an endless one in the middle."""
        half = len(self.pairs) // 2
        endless = {"query": "Count.", "answer": " ".join(["word"] * LONG)}
        return self.write("long.jsonl", [*self.pairs[:half], endless, *self.pairs[half:]])

    @cached_property
    def whole(self) -> "Whole":
        """The run nobody disturbed, watched."""
        run, start = self.start(self.store("whole")), time.time()
        until(lambda: run.ended() or run.reads())
        first = time.time()
        if run.end() or not run.reads():
            sys.exit(f"the undisturbed run failed, or its ledger is empty:\n{run.output()}")
        ended = time.time()
        last = max(file.stat().st_mtime for file in shard_files(run.store))
        return Whole(run, first - start, last - first, ended - last)


@dataclass(frozen=True)
class Whole:
    """What the undisturbed run took and made."""

    run: Run
    start_up: float  # seconds until the model reads
    scoring: float  # seconds from there to the last shard
    tables: float  # seconds from there to its end

    @cached_property
    def needed(self) -> dict[tuple[str, str], int]:
        """Tokens of every text, by (pass, id)."""
        return {(read.part, read.id): read.tokens for read in self.run.reads()}

    @cached_property
    def shards(self) -> dict[str, int]:
        """Tokens of every shard, by its place under the store."""
        return {str(file.relative_to(self.run.store)): sum(self.needed[key] for key in texts_of(file))
                for file in shard_files(self.run.store)}  # fmt: skip

    @cached_property
    def total(self) -> int:
        """Tokens that have to be read."""
        return sum(self.needed.values())

    @cached_property
    def largest(self) -> int:
        """Tokens of the largest shard: the most a kill may cost."""
        return max(self.shards.values())

    def same(self, run: Run) -> bool:
        """Whether `run` ended with the same bytes, those of the shards included."""
        return run.end() == 0 and run.result() == self.run.result() and self._shards_of(run) == set(self.shards)

    def _shards_of(self, run: Run) -> set[str]:
        return {str(file.relative_to(run.store)) for file in shard_files(run.store)}  # names hold the bytes' digests


def shard_files(store: Path) -> list[Path]:
    """Finished shards of all passes."""
    return sorted((store / "shards").glob("*/*/*.parquet"))


def texts_of(shard: Path) -> list[tuple[str, str]]:
    """(pass, id) of every text in a shard."""
    return [(shard.parent.name, id) for id in pq.read_table(shard, columns=["id"])["id"].to_pylist()]


def tokens(reads: list[Read]) -> int:
    """Their sum."""
    return sum(read.tokens for read in reads)


def repeated(reads: list[Read]) -> int:
    """Tokens that were read although they had been read before."""
    return tokens(reads) - sum({(read.part, read.id): read.tokens for read in reads}.values())


def until(holds: Callable[[], Any], seconds: float = 600) -> None:
    """Wait; TimeoutError if it takes longer than that."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"nothing happened for {seconds} s")
        time.sleep(0.005)


def rows_of(run: Run, name: str, ids: list[str]) -> list[dict[str, Any]]:
    """The rows of these pairs in a run's table."""
    wanted = set(ids)
    return [row for row in tables.read(run.folder / name).to_pylist() if row["id"] in wanted]


def make_bench(model: Path, pairs_file: str, pairs: int, kills: int, seed: int, scratch: Path) -> Bench:
    """The first pairs of a file, 1% more of them, and the ledger's code."""
    source, more = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/data/jsonl.yaml")), max(1, pairs // 100)
    data.load({**source, "path": pairs_file}, scratch)
    rows = tables.read(scratch / "examples.parquet", ["query", "answer"]).slice(0, pairs + more).to_pylist()
    if len(rows) < pairs + more:
        sys.exit(f"{pairs_file} holds {len(rows)} usable pairs, {pairs + more} are needed: lower --pairs")
    (scratch / "sitecustomize.py").write_text(LEDGER)
    return Bench(model, scratch, rows[:pairs], rows[pairs:], kills, random.Random(seed))
