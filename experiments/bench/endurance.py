"""Scoring never loses work: killed, on damaged files, beside another run, on a full disk, with an endless record, on new data.

    python experiments/bench/endurance.py MODEL_DIR PAIRS [--pairs 100] [--kills 20] [--seed 0] [--only NAME ...]

MODEL_DIR is a directory transformers loads, its window below 200,000 tokens; PAIRS is any file `data=jsonl` takes. Every claim
is shown on runs of the real pipeline (`watched.py`), each on a store of its own, against one run nobody disturbed. Prints a
line a claim, then one JSON object with what was counted; ends with 1 if a claim fails.

The full disk is a small tmpfs, mounted in a namespace of our own (`unshare`), which an ordinary user may do on most systems;
where it is forbidden that claim is skipped and the JSON says why.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from harm import allocated, altered_model, damage, mount, own_namespace
from watched import (
    LIKELIHOOD,
    LONG,
    METRICS,
    TABLES,
    Bench,
    Run,
    make_bench,
    repeated,
    rows_of,
    shard_files,
    texts_of,
    tokens,
    until,
)

from qaq import tables

# Bytes. The logits of a text of 200,000 tokens would be 40 GB in one piece, its attention scores 160 GB a head.
WIDE_MEMORY = 4 * 2**30


def kill_loop(bench: Bench) -> dict[str, Any]:
    """SIGKILL to the whole group while it starts, scores and makes its tables, until a run was faster or the plan is through;
    then a run in peace. At most one shard is read again for a kill."""
    whole, runs = bench.whole, []
    done: Counter[str] = Counter()
    lost = []
    for moment in plan(bench):
        run = bench.start(bench.store("killed"))
        runs.append(run)
        wait_for(moment, run, bench)
        if run.ended():
            break
        run.kill()
        done[moment] += 1
        lost.append(run.lost())
    if runs[-1].end() == -signal.SIGKILL:
        runs.append(bench.run(bench.store("killed")))
    reads, same, kills = [read for run in runs for read in run.reads()], whole.same(runs[-1]), sum(done.values())
    exact = repeated(reads) == sum(lost) == tokens(reads) - whole.total
    return {"holds": same and kills >= bench.kills and exact and max(lost, default=0) <= whole.largest,
            "kills": kills, "kills_by_moment": dict(done), "same_bytes": same, "shards": len(whole.shards),
            "tokens_needed": whole.total, "tokens_read": tokens(reads), "tokens_read_twice": repeated(reads),
            "kills_that_cost_something": sum(map(bool, lost)), "most_a_kill_cost": max(lost, default=0),
            "largest_shard": whole.largest, "allowed": kills * whole.largest}  # fmt: skip


def plan(bench: Bench) -> list[str]:
    """The moments of the kills: some at the start, most while it scores, the last when all is scored."""
    moments = ["start"] * (bench.kills // 5) + ["scoring"] * bench.kills
    bench.random.shuffle(moments)
    return moments + ["tables"] * 3


def wait_for(moment: str, run: Run, bench: Bench) -> None:
    """Until a random moment of that kind, or the run's end."""
    whole = bench.whole
    # Of its scoring a kill lets a run do half a share on average, so that work is left for every one.
    longest = {"start": whole.start_up, "scoring": whole.scoring / bench.kills, "tables": whole.tables}[moment]
    reached = {"start": lambda: True, "scoring": run.reads,
               "tables": lambda: len(shard_files(run.store)) == len(whole.shards)}[moment]  # fmt: skip
    until(lambda: run.ended() or reached())
    if moment == "tables" and not run.reads():  # all was scored before it started
        longest += whole.start_up
    end = time.monotonic() + bench.random.random() * longest
    until(lambda: run.ended() or time.monotonic() >= end)


def dead_worker(bench: Bench) -> dict[str, Any]:
    """SIGKILL to the only worker: a clear error. Then to one of two workers: a warning, and the run goes on to its end."""
    whole, store = bench.whole, bench.store("worker")
    alone = bench.start(store)
    until(lambda: alone.ended() or len(shard_files(store)) > len(whole.shards) // 4)
    os.kill(alone.reads()[-1].worker, signal.SIGKILL)
    told = alone.end() == 1 and alone.said("qaq.score ended with SIGKILL")
    pair = bench.start(store, "launch.workers=2")
    until(lambda: pair.ended() or len({read.worker for read in pair.reads()}) == 2)
    os.kill(pair.reads()[-1].worker, signal.SIGKILL)
    warned = pair.end() == 0 and pair.said("of 2 ended with SIGKILL; the others did its share")
    twice = repeated(alone.reads() + pair.reads())
    ours, theirs = (tables.read(run.folder / LIKELIHOOD).to_pylist() for run in (pair, whole.run))
    # Of two workers each has half of the threads, which may move the last bits of a sum.
    gap = max(abs(a["nll_sum"] - b["nll_sum"]) / a["tokens"] for a, b in zip(ours, theirs, strict=True))
    return {"holds": told and warned and twice <= 2 * whole.largest, "run_without_its_worker_says_so": told,
            "run_with_one_of_two_ends_well": warned, "tokens_read_twice": twice, "allowed": 2 * whole.largest,
            "same_bytes": whole.same(pair), "largest_difference_nats_per_token": gap}  # fmt: skip


def dead_parent(bench: Bench) -> dict[str, Any]:
    """SIGKILL to main.py alone: its worker ends with it, and the next run, started at once, repeats at most one shard."""
    store = bench.store("parent")
    first = bench.start(store)
    until(lambda: first.ended() or first.reads())
    os.kill(first.process.pid, signal.SIGKILL)
    first.end()
    second = bench.run(store)
    twice, same = repeated(first.reads() + second.reads()), bench.whole.same(second)
    return {"holds": same and twice <= bench.whole.largest, "tokens_by_the_orphan": tokens(first.reads()),
            "tokens_by_the_next_run": tokens(second.reads()), "tokens_read_twice": twice,
            "largest_shard": bench.whole.largest, "same_bytes": same}  # fmt: skip


def damaged_shards(bench: Bench) -> dict[str, Any]:
    """Shards of a run that ended before it made its tables are spoilt: each is found, and only its texts are read again."""
    store, kinds = bench.copy("damaged_shards"), ["one bit", "one bit", "one bit", "zeros", "cut", "empty"]
    shutil.rmtree(store / "likelihood")
    victims = bench.random.sample(shard_files(store), len(kinds))
    wanted = Counter(text for file in victims for text in texts_of(file))
    for file, how in zip(victims, kinds, strict=True):
        damage(file, how, bench.random)
    run = bench.run(store)
    named = sum(run.said(f"{file} does not hold what was written there") for file in victims)
    aside = sum(file.with_suffix(".damaged").is_file() for file in victims)
    again, same = Counter((read.part, read.id) for read in run.reads()), bench.whole.same(run)
    return {"holds": same and named == aside == len(victims) and again == wanted, "damaged": len(victims), "named": named,
            "set_aside": aside, "texts_in_them": len(wanted), "texts_read_again": again.total(), "same_bytes": same}  # fmt: skip


def damaged_entries(bench: Bench) -> dict[str, Any]:
    """Finished entries of the store are spoilt: each is found and made again; nothing is read by the model."""
    store = bench.copy("damaged_entries")
    kinds = {"examples/*/examples.parquet": "one bit", "texts/*/forward/tokens.bin": "cut",
             "likelihood/*/likelihood.parquet": "one bit"}  # fmt: skip
    victims = [next(store.glob(pattern)) for pattern in kinds]
    for file, how in zip(victims, kinds.values(), strict=True):
        damage(file, how, bench.random)
    run = bench.run(store)
    named = sum(run.said(f"{file.name} is not what was written there") for file in victims)
    return {"holds": bench.whole.same(run) and named == len(victims) and not run.reads(), "damaged": len(victims),
            "named": named, "tokens_read": tokens(run.reads()), "same_bytes": bench.whole.same(run)}  # fmt: skip


def two_at_once(bench: Bench) -> dict[str, Any]:
    """Two equal runs started together, of which one works and the other waits; and two runs, one of which wants fewer passes,
    that work on the shards of one folder together."""
    found: dict[str, Any] = {"holds": True}
    for kind, options in (("equal", []), ("unequal", ["scorer.passes=[reverse,forward]"])):
        runs = [bench.start(bench.store(kind)), bench.start(bench.store(kind), *options)]
        ended = [run.end() for run in runs] == [0, 0]
        reads, same = runs[0].reads() + runs[1].reads(), all(map(bench.whole.same, runs[: 1 if options else 2]))
        found["holds"] &= ended and same and repeated(reads) == 0 and tokens(reads) == bench.whole.total
        found[kind] = {"tokens_needed": bench.whole.total, "tokens_read": [tokens(run.reads()) for run in runs],
                       "tokens_read_twice": repeated(reads), "same_bytes": same}  # fmt: skip
    return found


def full_disk(bench: Bench) -> dict[str, Any]:
    """The store on a disk that is full, enlarged, full again: at the pairs, the tokens, the shards, the table. Every failure
    names the place, what is free there and the way out, and no run reads again what one before it kept."""
    disk = bench.scratch / "disk"
    disk.mkdir()
    if refused := mount(disk, "size=8k"):
        return {"holds": None, "skipped": f"no tmpfs of our own can be mounted here: {refused}"}
    whole, used, runs, lost = bench.whole, allocated(bench.whole.run.store), [], []
    for share in (0.02, 0.2, 0.35, 0.5, 0.7, 0.9, 3):
        mount(disk, f"remount,size={max(4096, int(used * share))}")
        runs.append(bench.run(disk / "store"))
        lost.append(runs[-1].lost())
        if runs[-1].end() == 0:
            break
    told = [
        run.end() == 1 and run.said("no room for", str(disk), "bytes are free", "run again to go on")
        for run in runs[:-1]
    ]
    reads, same = [read for run in runs for read in run.reads()], whole.same(runs[-1])
    subprocess.run(["umount", disk], check=True)
    return {"holds": same and len(told) >= 3 and all(told) and max(lost) <= whole.largest and repeated(reads) == sum(lost),
            "times_full": len(told), "times_told": sum(told), "tokens_needed": whole.total,
            "tokens_read_by_run": [tokens(run.reads()) for run in runs], "tokens_read_twice": repeated(reads),
            "most_a_full_disk_cost": max(lost), "largest_shard": whole.largest, "same_bytes": same}  # fmt: skip


def long_record(bench: Bench) -> dict[str, Any]:
    """A pair of more than 200,000 tokens among the others: quarantined with its reason, and nobody else's bytes change."""
    run, place = bench.run(bench.store("long"), rows=bench.with_long), len(bench.pairs) // 2
    (refused,) = tables.read_jsonl(run.folder / "quarantine.jsonl")
    same = same_rows(bench, run, bench.whole.run)
    right = refused["row"] == place and "longer than the model's window" in refused["reason"]
    return {"holds": run.end() == 0 and right and same, "row": refused["row"], "reason": refused["reason"],
            "same_rows_of_the_others": same, "peak_memory_gib": gib(run.peak),
            "peak_memory_gib_without_it": gib(bench.whole.run.peak)}  # fmt: skip


def long_record_scored(bench: Bench) -> dict[str, Any]:
    """A (random, small) model whose window is wide enough scores that pair too, in bounded memory."""
    model = wide_model(bench.model, bench.scratch / "wide")
    without, run = (bench.run(bench.store(f"wide_{rows.stem}"), "scorer.passes=[forward]", rows=rows, model=model)
                    for rows in (bench.file, bench.with_long))  # fmt: skip
    (text,) = [read for read in run.reads() if read.tokens > LONG]
    same, scored = same_rows(bench, run, without), tables.read(run.folder / METRICS).num_rows
    return {"holds": scored == len(bench.pairs) + 1 and same and run.peak < WIDE_MEMORY, "tokens": text.tokens,
            "pairs_scored": scored, "same_rows_of_the_others": same, "peak_memory_gib": gib(run.peak),
            "peak_memory_gib_without_it": gib(without.peak)}  # fmt: skip


def wide_model(narrow: Path, out: Path) -> Path:
    """A random Llama of one layer and one head with a window of 262,144 tokens, and the tokenizer of `narrow`."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(narrow)
    tokenizer.save_pretrained(out)
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
                         num_attention_heads=1, max_position_embeddings=2**18, tie_word_embeddings=True)  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(out)
    return out


def same_rows(bench: Bench, *runs: Run) -> bool:
    """Whether the bench's own pairs have the same values in both runs."""
    return all(rows_of(runs[0], name, bench.ids) == rows_of(runs[1], name, bench.ids) for name in TABLES)


def gib(size: int) -> float:
    """Bytes as GiB."""
    return round(size / 2**30, 2)


def new_records(bench: Bench) -> dict[str, Any]:
    """New pairs, the old ones in another order, another file: the new ones are read, and nothing else."""
    pairs = [*bench.pairs, *bench.new]
    bench.random.shuffle(pairs)
    run = bench.run(bench.copy("more"), rows=bench.write("more.jsonl", pairs))
    passes, new = {part for part, _ in bench.whole.needed}, {tables.pair_id(**pair) for pair in bench.new}
    exact = Counter((read.part, read.id) for read in run.reads()) == Counter(
        (part, id) for part in passes for id in new
    )
    same, read = same_rows(bench, run, bench.whole.run), tokens(run.reads())
    return {"holds": run.end() == 0 and exact and same, "pairs": len(bench.pairs), "new_pairs": len(new),
            "only_the_new_are_read": exact, "tokens_read": read, "share_of_the_old": round(read / bench.whole.total, 4),
            "same_rows_of_the_others": same}  # fmt: skip


def changed_settings(bench: Bench) -> dict[str, Any]:
    """What may change a likelihood meets no old shard; a knob that may not finds everything. Asked of launch.dry_run."""
    whole, changed = bench.whole, {"model": altered_model(bench.model, bench.scratch / "changed")}
    asked: dict[str, tuple[list[str], dict[str, Path], int]] = {
        "one bit of the weights": ([], changed, len(whole.needed))
    }
    for setting in ("system_prompt=Brief", "dtype=float32", "protocol=reference", "max_length=2000",
                    "reverse_instruction='Why {answer}'"):  # fmt: skip
        asked[f"scorer.{setting}"] = ([f"scorer.{setting}"], {}, len(whole.needed))
    for knob in ("scorer.tokens_per_batch=300", "scorer.tokens_per_shard=4096", "launch.workers=2"):
        asked[knob] = ([knob], {}, 0)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = pool.map(
            lambda case: bench.run(whole.run.store, "launch.dry_run=true", *case[0], **case[1]), asked.values()
        )
        found = {name: missing(run) for name, run in zip(asked, runs, strict=True)}
    return {"holds": found == {name: expected for name, (*_, expected) in asked.items()}, "texts": len(whole.needed),
            "texts_to_read_after": found}  # fmt: skip


def missing(run: Run) -> int | None:
    """Texts a dry run says it would read; None if it failed."""
    found = re.search(r"dry run: ([\d,]+) records are missing|dry run: .* has read every pair", run.output())
    return int((found[1] or "0").replace(",", "")) if found and run.end() == 0 else None


CLAIMS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    claim.__name__: claim
    for claim in (kill_loop, dead_worker, dead_parent, damaged_shards, damaged_entries, two_at_once, full_disk,
                  long_record, long_record_scored, new_records, changed_settings)
}  # fmt: skip


def main() -> int:
    """Prints the claims and what was counted; 1 if one fails."""
    asked = arguments()
    own_namespace()
    with tempfile.TemporaryDirectory(prefix="endurance-") as scratch:
        bench = make_bench(asked.model.resolve(), asked.pairs_file, asked.pairs, asked.kills, asked.seed, Path(scratch))
        try:
            with redirect_stdout(sys.stderr):  # libraries greet there, and only the JSON belongs on it
                found = {name: judge(name, bench) for name in asked.only or CLAIMS}
        finally:
            bench.stop()
    print(json.dumps({"model": asked.model.name, "pairs": asked.pairs, "seed": asked.seed, **found}, indent=1))
    return 1 if any(claim["holds"] is False for claim in found.values()) else 0


def judge(name: str, bench: Bench) -> dict[str, Any]:
    """One claim's counts; its verdict is printed."""
    start, found = time.monotonic(), CLAIMS[name](bench)
    verdict = {True: "holds", False: "FAILS", None: "skipped"}[found["holds"]]
    print(f"{verdict:<8}{name:<20}{time.monotonic() - start:5.0f} s", file=sys.stderr, flush=True)
    return found


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


if __name__ == "__main__":
    sys.exit(main())
