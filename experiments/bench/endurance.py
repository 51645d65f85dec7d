"""Scoring never loses work: killed, on damaged files, beside another run, on a full disk, with an endless record, on new data.

    python experiments/bench/endurance.py MODEL_DIR PAIRS [--pairs 100] [--kills 20] [--seed 0] [--only NAME ...]

MODEL_DIR is a directory transformers loads, its window below 200,000 tokens; PAIRS is any file `data=jsonl` takes. Every run
is `python src/main.py stages=[load,score]` in a process group and, unless said otherwise, on a store of its own. Each worker
notes every text in a ledger just before the model reads it, so what was read twice is counted, not inferred. Prints a line a
claim, then one JSON object with what was counted; ends with 1 if a claim fails.

The full disk is a small tmpfs, mounted in a namespace of our own (`unshare`), which an ordinary user may do on most systems;
where it is forbidden that claim is skipped and says why.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

import pyarrow.parquet as pq  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402

from qaq import data, tables  # noqa: E402

TOKENS_PER_SHARD = 512
LONG = 200_000  # tokens, at least
WIDE_MEMORY = 4 * 2**30  # bytes; the logits of a long text alone would be 40 GB, its attention scores 160 GB
NAMESPACE = "QAQ_ENDURANCE_NAMESPACE"  # environment variable: we are in a namespace of our own
TABLES = ("likelihood.parquet", "metrics.parquet")

# Python runs this at the start of every process of a run.
LEDGER = """
import os, sys
if "qaq.score" in sys.orig_argv:
    from pathlib import Path
    from qaq.score.engine import Engine
    ledger = os.open(os.environ["QAQ_LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    read = Engine._batch_sums
    def noted(self, rows):
        name = Path(self.texts.tokens.filename).parent.name
        lines = [f"{os.getpid()} {name} {self.texts.ids[row]} {self.texts.length[row]}\\n" for row in rows]
        os.write(ledger, "".join(lines).encode())
        return read(self, rows)
    Engine._batch_sums = noted
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

    def said(self) -> str:
        """What it printed."""
        return (self.folder / "said").read_text()

    def result(self) -> list[bytes]:
        """The bytes of its tables."""
        return [(self.folder / name).read_bytes() for name in TABLES]


@dataclass
class Bench:
    """The files every claim starts from. `whole` is the run nobody disturbed."""

    model: Path
    scratch: Path
    pairs: list[dict[str, str]]
    new: list[dict[str, str]]
    random: random.Random
    runs: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))

    def start(self, store: Path, *options: str, rows: Path | None = None, model: Path | None = None) -> Run:
        """A run, started."""
        folder = self.scratch / "runs" / str(next(self.runs))
        folder.mkdir(parents=True)
        command = [sys.executable, str(ROOT / "src/main.py"), "stages=[load,score]", "data=jsonl", "data.query=query",
                   "data.answer=answer", f"data.path={rows or self.file}", "scorer=local", "tracking=off",
                   f"scorer.model.path={model or self.model}", f"scorer.tokens_per_shard={TOKENS_PER_SHARD}",
                   f"store_dir={store}", f"hydra.run.dir={folder}", *options]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(self.scratch), "QAQ_LEDGER": str(folder / "ledger")}
        with (folder / "said").open("w") as said:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                                       start_new_session=True)  # fmt: skip
        return Run(folder, store, process)

    def run(self, store: Path, *options: str, **changes: Path) -> Run:
        """A run to its end."""
        run = self.start(store, *options, **changes)
        run.end()
        return run

    def store(self, name: str) -> Path:
        """The path of a store."""
        return self.scratch / "stores" / name

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
        run, start = self.start(self.store("whole")), time.monotonic()
        until(lambda: run.ended() or run.reads())
        first = time.monotonic() - start
        if run.end() or not run.reads():
            sys.exit(f"the undisturbed run failed, or its ledger is empty:\n{run.said()}")
        return Whole(run, first, time.monotonic() - start - first)


@dataclass(frozen=True)
class Whole:
    """What the undisturbed run took and made."""

    run: Run
    start_up: float  # seconds until the model reads
    scoring: float  # seconds from there

    @cached_property
    def needed(self) -> dict[tuple[str, str], int]:
        """Tokens of every text, by (pass, id)."""
        return {(read.part, read.id): read.tokens for read in self.run.reads()}

    @cached_property
    def shards(self) -> dict[str, int]:
        """Tokens of every shard, by its place under the store."""
        return {str(file.relative_to(self.run.store)): sum(self.needed[key] for key in texts_of(file))
                for file in shard_files(self.run.store)}  # fmt: skip

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


def held(store: Path) -> set[tuple[str, str]]:
    """(pass, id) of every text whose likelihood is kept."""
    return {text for shard in shard_files(store) for text in texts_of(shard)}


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


def kill_loop(bench: Bench, kills: int) -> dict[str, Any]:
    """SIGKILL to the whole group while it starts, scores and assembles its tables, until the plan is through; then a run in
    peace. What a kill cost: texts the ledger says were read and no shard holds."""
    whole, store = bench.whole, bench.store("killed")
    pace = 2 * whole.scoring / kills  # seconds of scoring before a kill, so that half of the work is left for the last
    plan = ["start"] * (kills // 5) + ["scoring"] * kills
    bench.random.shuffle(plan)
    plan += ["assembly"] * 3
    lost, reads, done = [], [], Counter()
    for moment in plan:
        run = bench.start(store)
        wait_for(moment, run, whole, bench.random.random(), pace)
        if run.ended():
            break
        run.kill()
        done[moment] += 1
        reads += run.reads()
        lost.append(tokens([read for read in run.reads() if (read.part, read.id) not in held(store)]))
    last = bench.run(store)
    reads += last.reads()
    needed, largest = sum(whole.needed.values()), max(whole.shards.values())
    return {"holds": whole.same(last) and sum(done.values()) >= kills and max(lost) <= largest
            and repeated(reads) == sum(lost) and tokens(reads) == needed + sum(lost),
            "kills": dict(done), "tokens_needed": needed, "tokens_read": tokens(reads), "tokens_read_twice": repeated(reads),
            "kills_that_cost_something": sum(map(bool, lost)), "most_a_kill_cost": max(lost), "largest_shard": largest,
            "shards": len(whole.shards), "bound": largest * sum(done.values()), "same_bytes": whole.same(last)}  # fmt: skip


def wait_for(moment: str, run: Run, whole: Whole, share: float, pace: float) -> None:
    """Until a random moment (`share` in [0, 1) draws it) of that kind, or the run's end."""
    longest = {"start": whole.start_up, "scoring": pace, "assembly": whole.start_up}[moment]
    if moment == "scoring":
        until(lambda: run.ended() or run.reads())
    if moment == "assembly":  # all is scored: what is left is a start, and the tables
        until(lambda: run.ended() or len(shard_files(run.store)) == len(whole.shards))
    end = time.monotonic() + share * longest
    until(lambda: run.ended() or time.monotonic() >= end)


def dead_worker(bench: Bench) -> dict[str, Any]:
    """SIGKILL to the only worker: a clear error. Then to one of two workers: a warning, and the run goes on to its end."""
    whole, store = bench.whole, bench.store("worker")
    alone = bench.start(store)
    until(lambda: len(shard_files(store)) > len(whole.shards) // 4)
    os.kill(alone.reads()[-1].worker, signal.SIGKILL)
    status, told = alone.end(), "qaq.score ended with SIGKILL" in alone.said()
    pair = bench.start(store, "launch.workers=2")
    until(lambda: pair.ended() or len({read.worker for read in pair.reads()}) == 2)
    os.kill(pair.reads()[-1].worker, signal.SIGKILL)
    pair.end()
    warned = "of 2 ended with SIGKILL; the others did its share" in pair.said()
    twice, largest = repeated(alone.reads() + pair.reads()), max(whole.shards.values())
    # Two workers have fewer threads each, and those may move the last bit of a sum.
    return {"holds": status == 1 and told and pair.end() == 0 and warned and twice <= 2 * largest,
            "status_without_its_worker": status, "told": told, "status_with_one_of_two_workers": pair.end(),
            "warned": warned, "tokens_read_twice": twice, "largest_shard": largest, "same_bytes": whole.same(pair)}  # fmt: skip


def dead_parent(bench: Bench) -> dict[str, Any]:
    """SIGKILL to main.py alone: its worker goes on, and the next run, started at once, shares the rest with it."""
    whole, store = bench.whole, bench.store("parent")
    first = bench.start(store)
    until(first.reads)
    os.kill(first.process.pid, signal.SIGKILL)
    first.end()
    second = bench.run(store)
    twice = repeated(first.reads() + second.reads())
    return {"holds": whole.same(second) and not twice, "tokens_by_the_orphan": tokens(first.reads()),
            "tokens_by_the_next_run": tokens(second.reads()), "tokens_read_twice": twice, "same_bytes": whole.same(second)}  # fmt: skip


def damage(file: Path, how: str, chance: random.Random) -> None:
    """Spoil a file's bytes."""
    spoilt = bytearray(file.read_bytes())
    place = chance.randrange(len(spoilt))
    if how == "one bit":
        spoilt[place] ^= 1 << chance.randrange(8)
    elif how == "zeros":
        spoilt[place : place + 64] = bytes(len(spoilt[place : place + 64]))
        spoilt[0] ^= 1  # in case there were only zeros
    elif how == "cut":
        del spoilt[place:]
    else:
        spoilt.clear()
    file.write_bytes(spoilt)


def damaged_shards(bench: Bench) -> dict[str, Any]:
    """Some shards of a run that was killed before its tables were made are spoilt: each is found, and only they are read again."""
    whole, store = bench.whole, bench.store("damaged_shards")
    shutil.copytree(whole.run.store, store)
    shutil.rmtree(store / "likelihood")
    kinds = ["one bit", "one bit", "one bit", "zeros", "cut", "empty"]
    victims = bench.random.sample(shard_files(store), len(kinds))
    wanted = {text for file in victims for text in texts_of(file)}
    for file, how in zip(victims, kinds, strict=True):
        damage(file, how, bench.random)
    run = bench.run(store)
    named = sum(f"{file} does not hold what was written there" in run.said() for file in victims)
    aside = sum(file.with_suffix(".damaged").is_file() for file in victims)
    again = [(read.part, read.id) for read in run.reads()]
    return {"holds": whole.same(run) and named == aside == len(victims) and Counter(again) == Counter(wanted),
            "damaged": len(victims), "named": named, "set_aside": aside, "texts_in_them": len(wanted),
            "texts_read_again": len(again), "same_bytes": whole.same(run)}  # fmt: skip


def damaged_entries(bench: Bench) -> dict[str, Any]:
    """Finished entries of the store are spoilt: each is found and made again; nothing is read."""
    whole, store = bench.whole, bench.store("damaged_entries")
    shutil.copytree(whole.run.store, store)
    victims = [next(store.glob(name)) for name in ("examples/*/examples.parquet", "texts/*/forward/tokens.bin",
                                                   "likelihood/*/likelihood.parquet")]  # fmt: skip
    for file, how in zip(victims, ("one bit", "cut", "one bit"), strict=True):
        damage(file, how, bench.random)
    run = bench.run(store)
    named = sum(f"{file.name} is not what was written there" in run.said() for file in victims)
    return {"holds": whole.same(run) and named == len(victims) and not run.reads(), "damaged": len(victims),
            "named": named, "tokens_read": tokens(run.reads()), "same_bytes": whole.same(run)}  # fmt: skip


def two_at_once(bench: Bench) -> dict[str, Any]:
    """Two equal runs started together: one works, the other waits. Two runs of which one wants fewer passes: both work, on
    the shards of one folder."""
    whole, equal, unequal = bench.whole, bench.store("equal"), bench.store("unequal")
    runs = [bench.start(equal), bench.start(equal)]
    statuses = [run.end() for run in runs]
    some = [bench.start(unequal), bench.start(unequal, "scorer.passes=[reverse,forward]")]
    statuses += [run.end() for run in some]
    needed, first, second = sum(whole.needed.values()), *([r.reads() for r in both] for both in (runs, some))
    found = {"statuses": statuses, "tokens_needed": needed, "tokens_by_equal_runs": list(map(tokens, first)),
             "tokens_by_unequal_runs": list(map(tokens, second)),
             "same_bytes": all(map(whole.same, [*runs, some[0]]))}  # fmt: skip
    twice = repeated(sum(first, [])) + repeated(sum(second, []))
    once = twice == 0 and tokens(sum(first, [])) == tokens(sum(second, [])) == needed
    return {"holds": not any(statuses) and once and found["same_bytes"], **found, "tokens_read_twice": twice}


def full_disk(bench: Bench) -> dict[str, Any]:
    """The store on a disk that is enlarged step by step, each time full again: at the pairs, the tokens, the shards, the
    table. Every failure names the place, what is free there and the way out, and no later run reads again what was kept."""
    disk = bench.scratch / "disk"
    disk.mkdir()
    if refused := mount(disk, "8k"):
        return {"holds": None, "skipped": f"no tmpfs of our own can be mounted here: {refused}"}
    whole, steps, reads, lost = bench.whole, [], [], []
    used = allocated(bench.whole.run.store)
    for share in (0.02, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 3):
        mount(disk, f"remount,size={max(4096, int(used * share))}")
        run = bench.run(disk / "store")
        reads += run.reads()
        lost.append(tokens([read for read in run.reads() if (read.part, read.id) not in held(run.store)]))
        told = all(words in run.said() for words in ("no room for", str(disk), "bytes are free", "run again to go on"))
        steps.append({"kilobytes": int(used * share) // 1024, "status": run.end(), "told": told, "shards": len(shard_files(run.store)),
                      "tokens_read": tokens(run.reads())})  # fmt: skip
        if run.end() == 0:
            break
    same, failures = whole.same(run), steps[:-1]
    subprocess.run(["umount", disk], check=True)
    fine = same and all(step["told"] and step["status"] == 1 for step in failures)
    return {"holds": fine and len(failures) >= 3 and max(lost) <= max(whole.shards.values()) and repeated(reads) == sum(lost),
            "failures": len(failures), "failures_told": sum(step["told"] for step in failures),
            "tokens_read_twice": repeated(reads), "same_bytes": same, "steps": steps}  # fmt: skip


def mount(folder: Path, size: str) -> str | None:
    """A tmpfs of this size, or, with `remount,size=...`, that size for the one there is; why not, if not."""
    options = size if size.startswith("remount") else f"size={size}"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    return (done.stderr.strip() or "mount failed") if done.returncode else None


def allocated(store: Path) -> int:
    """Bytes a file system of 4 KiB blocks needs for the files."""
    return sum(-(-file.stat().st_size // 4096) * 4096 for file in store.rglob("*") if file.is_file())


def long_record(bench: Bench) -> dict[str, Any]:
    """A pair of more than 200,000 tokens among the others: quarantined with its reason, and nobody else's bytes change."""
    run, place = bench.run(bench.store("long"), rows=bench.with_long), len(bench.pairs) // 2
    (refused,) = tables.read_jsonl(run.folder / "quarantine.jsonl")
    whole = bench.whole.run.folder
    same = [rows_of(run.folder, name, bench.ids) == rows_of(whole, name, bench.ids) for name in TABLES]
    return {"holds": run.end() == 0 and refused["row"] == place and "longer than the model's window" in refused["reason"] and all(same),
            "row": refused["row"], "reason": refused["reason"], "same_rows_of_the_others": all(same),
            "peak_memory_gib": gib(run.peak), "peak_memory_gib_without_it": gib(bench.whole.run.peak)}  # fmt: skip


def long_record_scored(bench: Bench) -> dict[str, Any]:
    """A (random, small) model whose window is wide enough scores that pair too, in bounded memory."""
    model = wide_model(bench.model, bench.scratch / "wide")
    runs = [bench.run(bench.store(f"wide{n}"), "scorer.passes=[forward]", rows=rows, model=model)
            for n, rows in enumerate((bench.file, bench.with_long))]  # fmt: skip
    (text,) = [read for read in runs[1].reads() if read.tokens > LONG]
    same = rows_of(runs[0].folder, TABLES[0], bench.ids) == rows_of(runs[1].folder, TABLES[0], bench.ids)
    kept = tables.read(runs[1].folder / TABLES[1]).num_rows
    return {"holds": kept == len(bench.pairs) + 1 and same and runs[1].peak < WIDE_MEMORY, "tokens": text.tokens,
            "pairs_scored": kept, "same_rows_of_the_others": same, "peak_memory_gib": gib(runs[1].peak),
            "peak_memory_gib_without_it": gib(runs[0].peak)}  # fmt: skip


def wide_model(narrow: Path, out: Path) -> Path:
    """A random Llama of one layer and one head with a window of 262,144 tokens, and the tokenizer of `narrow`."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(narrow)
    tokenizer.save_pretrained(out)
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
                         num_attention_heads=1, max_position_embeddings=2**18, tie_word_embeddings=True)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(out)
    return out


def rows_of(folder: Path, name: str, ids: list[str]) -> list[dict[str, Any]]:
    """The rows of these pairs in a run's table."""
    wanted = set(ids)
    return [row for row in tables.read(folder / name).to_pylist() if row["id"] in wanted]


def gib(size: int) -> float:
    """Bytes as GiB."""
    return round(size / 2**30, 2)


def new_records(bench: Bench) -> dict[str, Any]:
    """New pairs, the old ones in another order, another file: the new ones are read, and nothing else."""
    whole, store = bench.whole, bench.store("more")
    shutil.copytree(whole.run.store, store)
    pairs = [*bench.pairs, *bench.new]
    bench.random.shuffle(pairs)
    run = bench.run(store, rows=bench.write("more.jsonl", pairs))
    new = {tables.pair_id(**pair) for pair in bench.new}
    texts, passes = Counter((read.part, read.id) for read in run.reads()), {part for part, _ in whole.needed}
    same = all(rows_of(run.folder, name, bench.ids) == rows_of(whole.run.folder, name, bench.ids) for name in TABLES)
    return {"holds": run.end() == 0 and texts == Counter((part, id) for part in passes for id in new) and same,
            "pairs": len(bench.pairs), "new_pairs": len(new), "tokens_read": tokens(run.reads()),
            "share_of_the_tokens_of_the_old": round(tokens(run.reads()) / sum(whole.needed.values()), 4),
            "same_rows_of_the_others": same}  # fmt: skip


def changed_settings(bench: Bench) -> dict[str, Any]:
    """What may change a likelihood meets no old shard; a knob that may not finds everything. Asked of launch.dry_run."""
    whole, changed = bench.whole, altered_model(bench.model, bench.scratch / "changed")
    settings = ["scorer.system_prompt=Brief", "scorer.dtype=float32", "scorer.protocol=reference", "scorer.max_length=2000",
                "scorer.reverse_instruction='Why {answer}'"]  # fmt: skip
    knobs = ["scorer.tokens_per_batch=300", "scorer.tokens_per_shard=4096", "launch.workers=2"]

    def missing(option: str) -> int | None:
        """Texts that would be read; None if the run failed."""
        model = changed if option == "another model" else bench.model
        extra = [] if option == "another model" else [option]
        run = bench.run(whole.run.store, "launch.dry_run=true", *extra, model=model)
        found = re.search(r"dry run: ([\d,]+) records are missing|dry run: .* has read every pair", run.said())
        return int((found[1] or "0").replace(",", "")) if found and run.end() == 0 else None

    options = [*settings, "another model", *knobs]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = dict(zip(options, pool.map(missing, options), strict=True))
    expected = {option: 0 if option in knobs else len(whole.needed) for option in options}
    return {"holds": found == expected, "texts": len(whole.needed), "texts_missing_after": found}


def altered_model(model: Path, out: Path) -> Path:
    """The model with one bit of its weights changed."""
    shutil.copytree(model, out)
    with max(out.iterdir(), key=lambda file: file.stat().st_size).open("r+b") as weights:
        weights.seek(-2, os.SEEK_END)
        byte = weights.read(1)[0]
        weights.seek(-2, os.SEEK_END)
        weights.write(bytes([byte ^ 1]))
    return out


CLAIMS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    function.__name__: function
    for function in (kill_loop, dead_worker, dead_parent, damaged_shards, damaged_entries, two_at_once, full_disk,
                     long_record, long_record_scored, new_records, changed_settings)
}  # fmt: skip


def main() -> int:
    """Prints the claims and what was counted; 1 if one fails."""
    asked = arguments()
    own_namespace()
    found = {}
    with tempfile.TemporaryDirectory(prefix="endurance-") as scratch:
        bench, start = make_bench(asked, Path(scratch)), time.monotonic()
        for name in asked.only or CLAIMS:
            found[name] = CLAIMS[name](bench)
            verdict = {True: "holds", False: "FAILS", None: "skipped"}[found[name]["holds"]]
            print(f"{verdict:<8}{name:<20}{time.monotonic() - start:5.0f} s", file=sys.stderr, flush=True)
    print(json.dumps({"model": asked.model.name, "pairs": asked.pairs, "seed": asked.seed, **found}, indent=1))
    return 1 if any(claim["holds"] is False for claim in found.values()) else 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pairs_file")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=CLAIMS, metavar="NAME", help=", ".join(CLAIMS))
    return parser.parse_args()


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


def make_bench(asked: argparse.Namespace, scratch: Path) -> Bench:
    """The pairs, 1% more of them, and the ledger's code."""
    source, more = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/data/jsonl.yaml")), max(1, asked.pairs // 100)
    data.load({**source, "path": asked.pairs_file}, scratch)
    rows = tables.read(scratch / "examples.parquet", ["query", "answer"]).slice(0, asked.pairs + more).to_pylist()
    if len(rows) < asked.pairs + more:
        sys.exit(f"{asked.pairs_file} holds {len(rows)} usable pairs, {asked.pairs + more} are needed: lower --pairs")
    (scratch / "sitecustomize.py").write_text(LEDGER)
    return Bench(asked.model.resolve(), scratch, rows[: asked.pairs], rows[asked.pairs :], random.Random(asked.seed))


if __name__ == "__main__":
    sys.exit(main())
