"""Leakage and near-duplicates at the size of the paper's data: seconds, memory, and the same by comparing all with all.

    python experiments/bench/leakage.py PAIRS MBPP [--rows 310000] [--slice 400] [--near 31000] [--text query]

PAIRS is JSON or JSONL, gzipped or not; MBPP is the .jsonl.gz of MBPP+; HumanEval is the packaged file. First PAIRS themselves:
the TLI on each benchmark, how many pairs leak at XCoder's threshold, the five worst tasks beside their pairs. Then `rows` pairs
made of PAIRS' own sentences and lines, drawn at random, against both benchmarks together: the grams are looked for in the file
("find_s", once for a sweep), then TLI of all pairs and of a random quarter follow from them ("all_s", "quarter_s"). The first
`slice` pairs are also compared as the definition says, gram by gram with every task; `ratio` is how many times as long that takes
for a pair, and `largest_difference` how far the best similarities differ (it has to be rounding). Last, near-duplicates at
Jaccard 0.8 among `near` such pairs, every twentieth of which is a copy with a line added. Memory is the largest resident set so
far, of this process.
"""

import argparse
import gzip
import json
import random
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from qaq import evaluate  # noqa: E402
from qaq.data import leakage, near_duplicates  # noqa: E402

THRESHOLD = 0.05  # XCoder's
SCHEMA = pa.schema([("id", pa.string()), ("row", pa.int64()), ("query", pa.string()), ("answer", pa.string())])
GROUP = 4096  # rows of a row group, as the pipeline writes them
SENTENCES, LINES = (1, 6), (5, 40)  # of a made query and a made answer


def main() -> None:
    """Prints one JSON object."""
    asked = _arguments()
    pairs, tests = _pairs(asked.pairs_file), {name: _tests([name], asked) for name in ("humaneval", "mbpp")}
    both = _tests(list(tests), asked)
    with tempfile.TemporaryDirectory(dir=asked.scratch) as scratch:
        place = Path(scratch)
        real = _write(iter(pairs), place / "real.parquet")
        told = {name: _told(real, one) for name, one in tests.items()}
        made = _write(_made(pairs, asked.rows), place / "made.parquet")
        timed = _timed(made, both, asked.rows, place)
        compared = _compared(made, both, asked.slice, timed["find_s"] + timed["all_s"], asked.rows)
        copies = _write(_with_copies(_made(pairs, asked.near)), place / "copies.parquet")
        print(json.dumps({"pairs": len(pairs), "real": told, "made": {"rows": asked.rows, **timed, **compared},
                          "near_duplicates": _near(copies)}, indent=1, ensure_ascii=False))  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs_file", type=Path)
    parser.add_argument("mbpp_file", type=Path)
    parser.add_argument("--rows", type=int, default=310_000)
    parser.add_argument("--slice", type=int, default=400)
    parser.add_argument("--near", type=int, default=31_000)
    parser.add_argument("--text", choices=list(leakage.TEXTS), default="query")
    parser.add_argument("--scratch", type=Path, help="where the files go (and are removed at the end)")
    return parser.parse_args()


def _pairs(source: Path) -> list[tuple[str, str]]:
    """Query and answer of records {instruction, input, output}."""
    data = source.read_bytes()
    text = (gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).decode()
    rows = json.loads(text if text.lstrip().startswith("[") else f"[{','.join(text.strip().splitlines())}]")
    return [("\n\n".join(filter(None, (row["instruction"], row.get("input")))), row["output"]) for row in rows]


def _tests(names: list[str], asked: argparse.Namespace) -> leakage.Tests:
    paths = {"humaneval": None, "mbpp": str(asked.mbpp_file)}
    rows = [{"benchmark": name, "task_id": task, "text": text}
            for name in names for task, text in evaluate.prompts({"benchmark": name, "path": paths[name], "limit": None})]  # fmt: skip
    return leakage.Tests(pa.Table.from_pylist(rows), asked.text)


def _made(pairs: list[tuple[str, str]], rows: int) -> Iterator[tuple[str, str]]:
    """Pairs of real sentences and real lines of code in random company."""
    rng = random.Random(0)
    sentences = [part for query, _ in pairs for part in re.split(r"(?<=[.?!])\s+", query) if part]
    lines = [line for _, answer in pairs for line in answer.split("\n") if line.strip()]
    for _ in range(rows):
        yield (
            " ".join(rng.choices(sentences, k=rng.randint(*SENTENCES))),
            "\n".join(rng.choices(lines, k=rng.randint(*LINES))),
        )


def _with_copies(pairs: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Every twentieth pair is the one before it with a line added."""
    query, answer = "", ""
    for number, pair in enumerate(pairs):
        query, answer = (query, f"{answer}\nprint({number})") if number % 20 == 19 else pair
        yield query, answer


def _write(pairs: Iterator[tuple[str, str]], out: Path) -> Path:
    row = 0
    with pq.ParquetWriter(out, SCHEMA, compression="zstd") as writer:
        while group := list(islice(pairs, GROUP)):
            rows = list(range(row, row + len(group)))
            queries, answers = (list(column) for column in zip(*group, strict=True))
            writer.write_table(pa.table([list(map(str, rows)), rows, queries, answers], schema=SCHEMA))
            row += len(group)
    return out


def _told(examples: Path, tests: leakage.Tests) -> dict[str, Any]:
    """What the pairs give away of one benchmark."""
    start = time.perf_counter()
    found = leakage.find(examples, tests)
    worst = leakage.leak(found, tests.index)
    seconds = time.perf_counter() - start
    texts, named = pq.read_table(examples), tests.table.to_pylist()
    shown = [{"task": named[test]["task_id"], "similarity": round(float(worst.of_test[test]), 4), "test": named[test]["text"],
              "query": texts["query"][int(found["id"][int(worst.pair[test])].as_py())].as_py()}
             for test in np.argsort(-worst.of_test, kind="stable")[:5]]  # fmt: skip
    return {"tli": float(worst.of_test.mean()), "tasks": len(named), "leaking": int((worst.of_pair >= THRESHOLD).sum()),
            "seconds": round(seconds, 3), "worst": shown}  # fmt: skip


def _timed(examples: Path, tests: leakage.Tests, rows: int, place: Path) -> dict[str, Any]:
    """Seconds of each step, and what is kept between them."""
    before, start = _peak_mib(), time.perf_counter()
    found = leakage.find(examples, tests)
    looked = time.perf_counter()
    worst = leakage.leak(found, tests.index)
    told = time.perf_counter()
    quarter = pa.array([str(id) for id in random.Random(0).sample(range(rows), rows // 4)])
    part = leakage.leak(leakage.among(found, quarter), tests.index)
    ended = time.perf_counter()
    pq.write_table(found, place / "found.parquet", compression="zstd")
    return {"tests": len(tests.table), "find_s": round(looked - start, 2), "all_s": round(told - looked, 2),
            "quarter_s": round(ended - told, 2), "tli": float(worst.of_test.mean()), "tli_quarter": float(part.of_test.mean()),
            "leaking": int((worst.of_pair >= THRESHOLD).sum()), "pairs_with_grams": len(found),
            "grams": len(found["grams"].combine_chunks().flatten()), "kept_mib": round((place / "found.parquet").stat().st_size / 2**20, 1),
            "peak_mib_before": before, "peak_mib": _peak_mib()}  # fmt: skip


def _compared(examples: Path, tests: leakage.Tests, rows: int, seconds: float, all_rows: int) -> dict[str, Any]:
    """The definition itself on the first `rows` pairs, beside `seconds` for `all_rows`."""
    group = next(pq.ParquetFile(examples).iter_batches(rows)).to_pylist()
    start = time.perf_counter()
    held = [_grams(text) for text in tests.table["text"].to_pylist()]
    best = np.zeros(len(held))
    for row in group:
        grams = _grams(" ".join(row[name] for name in leakage.TEXTS[tests.text]))
        best = np.maximum(best, [len(test & grams) / len(test) for test in held])
    naive = time.perf_counter() - start
    first = leakage.among(leakage.find(examples, tests), pa.array([row["id"] for row in group]))
    return {"slice": rows, "slice_s": round(naive, 2), "ratio": round(naive / rows / (seconds / all_rows), 1),
            "largest_difference": float(np.abs(best - leakage.leak(first, tests.index).of_test).max())}  # fmt: skip


def _grams(text: str) -> set[tuple[str, ...]]:
    padded = {n: ["<start>"] * (n - 1) + text.split() + ["<end>"] * (n - 1) for n in (4, 5)}
    return {tuple(words[i : i + n]) for n, words in padded.items() for i in range(len(words) - n + 1)}


def _near(examples: Path) -> dict[str, Any]:
    before, start = _peak_mib(), time.perf_counter()
    found = sum(1 for _ in near_duplicates.find(examples, 0.8))
    return {"rows": pq.read_metadata(examples).num_rows, "found": found, "seconds": round(time.perf_counter() - start, 2),
            "peak_mib_before": before, "peak_mib": _peak_mib()}  # fmt: skip


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
