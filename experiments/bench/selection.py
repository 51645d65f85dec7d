"""Load and select at the size of the paper's data, likelihoods given: seconds and memory, no model.

    python experiments/bench/selection.py PAIRS [--rows 310000] [--answers 1] [--noise 0] [option=value ...]

PAIRS is JSON or JSONL, gzipped or not; its records are repeated, query and answer with a number, until there are `rows`, and
each takes the answers of `answers` records in a row, to reach the length of other data. What a scoring worker would leave is
drawn at random and written with the pipeline's own code into the folders it will look in: per pass a shard for each
`scorer.tokens_per_shard` tokens. Then `python src/main.py` runs as a user runs it, in a fresh process: first with nothing
but those shards in the store ("all": source and shards are read), then once per selector, which find the examples and the
likelihoods.

Seconds of a stage are wall time between the records in metrics.jsonl, the first one from the start of the process (imports
and checks included); selector_s is the selector alone; cpu_s, of all cores, is what a busy machine hardly moves. Memory is
the largest resident set, sampled every 20 ms: of all processes together (W&B's service is one; pages they share count
twice), and of the largest one.
"""

import argparse
import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from hydra import compose, initialize_config_dir  # noqa: E402

from qaq import config, pipeline, select  # noqa: E402
from qaq.job import Job  # noqa: E402
from qaq.score.shards import SCHEMA, Shards  # noqa: E402
from qaq.score.spans import TARGETS  # noqa: E402
from qaq.store import canonical  # noqa: E402

CHARACTERS_PER_TOKEN = 4  # roughly, of a code tokenizer
CONTEXT = 60  # tokens of template and instruction around a text, roughly


def main() -> None:
    """Prints one JSON object."""
    asked = _arguments()
    with tempfile.TemporaryDirectory(dir=asked.scratch) as scratch:
        place = Path(scratch)
        _write_pairs(asked.pairs_file, asked.rows, asked.answers, place / "pairs.jsonl")
        options = ["data=jsonl", f"data.path={place}/pairs.jsonl", "data.limit=null", f"data.noise={asked.noise}",
                   f"scorer={asked.scorer}", "stages=[load,score,select]", f"store_dir={place}/store", *asked.options]  # fmt: skip
        _give_likelihoods(options, place / "given")
        for stage in ("examples", "likelihood", "texts"):
            shutil.rmtree(place / "store" / stage)
        runs = [_run("all", [*options, "selector=stratified"], place)]
        runs += [_run(name, [*options, f"selector={name}"], place) for name in asked.selectors]
        print(json.dumps({"rows": asked.rows, "bytes": (place / "pairs.jsonl").stat().st_size, "cores": os.cpu_count(),
                          "shards": len(list((place / "store/shards").rglob("*.parquet"))), "runs": runs}, indent=1))  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs_file", type=Path)
    parser.add_argument("options", nargs="*", help="further options of src/main.py")
    parser.add_argument("--rows", type=int, default=310_000)
    parser.add_argument("--answers", type=int, default=1)
    parser.add_argument("--scorer", default="embedded_pair", help="one of conf/scorer; `disagreement` needs two models")
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--selectors", nargs="+", default=list(select.NAMES))
    parser.add_argument("--scratch", type=Path, help="where the files go (and are removed at the end)")
    return parser.parse_args()


def _write_pairs(source: Path, rows: int, answers: int, out: Path) -> None:
    """`rows` records like the source's; the first text field gets a number, the last is `answers` such texts and a number."""
    data = source.read_bytes()
    text = (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode()
    base = json.loads(text if text.lstrip().startswith("[") else f"[{','.join(text.strip().splitlines())}]")
    first, *_, last = [key for key, value in base[0].items() if isinstance(value, str)]
    with out.open("w", encoding="utf-8") as file:
        for number in range(rows):
            record = base[number % len(base)]
            texts = [base[(number + i) % len(base)][last] for i in range(answers)]
            record = {**record, first: f"{record[first]} ({number})", last: "\n".join([*texts, f"# {number}"])}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _give_likelihoods(options: list[str], run_dir: Path) -> None:
    """Run the pipeline here with likelihoods drawn where workers would compute them."""
    config.register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        settings = canonical(config.plain(compose("config", [*options, "stages=[load,score]", "tracking=off"])))
    run_dir.mkdir()
    examples: list[str] = []

    def worker(job: Job, module: str, request: dict[str, Any]) -> None:
        if module == "qaq.score.tokenise":
            examples.append(request["examples"])
        Path(request["out"], "nothing").touch()  # neither the model nor the tokens are looked at

    def workers(job: Job, module: str, request: dict[str, Any], left: Callable[[], int]) -> None:
        tokens_per_shard = request["settings"]["tokens_per_shard"]
        for number, name in enumerate(request["passes"]):
            _draw(Path(examples[-1]), name, Path(request["shards"]) / name, tokens_per_shard, number)

    with mock.patch.multiple(Job, worker=worker, workers=workers):
        pipeline.run(settings, run_dir, "bench", [])


def _draw(examples: Path, name: str, folder: Path, tokens_per_shard: int, seed: int) -> None:
    """Shards of one pass: lengths follow the texts, the NLL of a token is about one nat."""
    rng, table = np.random.default_rng(seed), pq.read_table(examples, columns=["id", "query", "answer"])
    ids = table["id"].to_numpy(zero_copy_only=False).astype(str)
    size = {t: pc.utf8_length(table[t]).to_numpy().astype(int) // CHARACTERS_PER_TOKEN + 1 for t in ("query", "answer")}
    tokens = np.stack([size[target] for target, _ in TARGETS[name]], axis=1).astype(np.int32)
    length = size["query"] + size["answer"] + CONTEXT if name != "answer" else size["answer"]
    sums = tokens * rng.gamma(8, 1 / 8, tokens.shape)

    def compute(rows: np.ndarray) -> pa.Table:
        return pa.table([ids[rows].tolist(), list(sums[rows]), list(tokens[rows])], schema=SCHEMA)

    shards = Shards(folder)
    shards.fill(ids, length, shards.missing(ids), tokens_per_shard, compute)


def _run(name: str, options: list[str], place: Path) -> dict[str, Any]:
    """One run of the program: what it took."""
    run_dir, start, cpu = place / f"run-{name}", time.time(), _cpu_of_children()
    command = [sys.executable, str(ROOT / "src/main.py"), *options, f"hydra.run.dir={run_dir}"]
    with (place / f"{name}.log").open("w") as log:
        child = psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        peak, largest = _watch(child)
    if child.returncode:
        raise SystemExit((place / f"{name}.log").read_text())
    result = json.loads((run_dir / "result.json").read_text())
    stages = list(_stages(run_dir / "metrics.jsonl", start))
    return {"run": name, "selected": result["counts"]["selected"], "selector_s": result["seconds"]["select"],
            **{f"{stage}_s": round(seconds, 2) for stage, seconds in stages}, "wall_s": round(time.time() - start, 2),
            "cpu_s": round(_cpu_of_children() - cpu, 2),
            "peak_tree_mib": round(peak / 2**20), "peak_process_mib": round(largest / 2**20)}  # fmt: skip


def _cpu_of_children() -> float:
    """Seconds, of those that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _watch(child: psutil.Popen) -> tuple[int, int]:
    """Wait for the end; (largest sampled sum of resident sets, largest resident set of one process), bytes."""
    peak = largest = 0
    while child.poll() is None:
        sizes = list(_resident(child))
        peak, largest = max([peak, sum(sizes)]), max([largest, *sizes])
        time.sleep(0.02)
    return peak, largest


def _resident(child: psutil.Popen) -> Iterator[int]:
    for process in [child, *child.children(recursive=True)]:
        try:
            yield process.memory_info().rss
        except psutil.NoSuchProcess:
            continue


def _stages(records: Path, start: float) -> Iterator[tuple[str, float]]:
    for line in records.read_text().splitlines():
        record = json.loads(line)
        yield record["stage"], record["time"] - start
        start = record["time"]


if __name__ == "__main__":
    main()
