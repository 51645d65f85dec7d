"""XCoder's diversity walk at the size of the paper's data: seconds, memory, and what the index misses.

    python experiments/bench/diversity.py [EMBEDDINGS.npy] [--rows 310000] [--dimensions 384] [--budgets 0.25 1.0] [--check 5000]

EMBEDDINGS are unit rows, float32 [N, D]; the more rows there are to make (--rows), the more of them are mixtures: a row, plus the
difference of two others times a number between 0.1 and 2, which keeps the set's covariance and gives every row relatives
from near-duplicates on. Without a file the rows to mix are drawn: directions of falling variance around a common mean, as those
of a language model. The ranking is a random order.

Each walk is a process of its own: seconds are of the walk alone, memory is the largest resident set of the process, less that
before the walk (the embeddings). `plain` is the double loop, a row against all kept ones in float64, on the first `check` rows:
its seconds, and how many of the decisions differ.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from qaq.select import diversity  # noqa: E402

SEEDS, SPREAD = 5000, (0.1, 2.0)


def main() -> None:
    """Prints one JSON object."""
    asked = _arguments()
    base = np.load(asked.embeddings) if asked.embeddings else drawn(SEEDS, asked.dimensions)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:

        def measured(*what: Any) -> dict[str, Any]:
            return pool.apply(_measured, (base, asked.threshold, *what))

        check = min(asked.check, len(base)) if asked.embeddings else asked.check
        report = {"cores": os.cpu_count(), "dimensions": base.shape[1], "threshold": asked.threshold,
                  "check": _agreement(measured, check), "walks": []}  # fmt: skip
        for budget in asked.budgets:
            count = int(budget * asked.rows + 0.5)
            walks = {kind: measured(asked.rows, count, kind) for kind in asked.kinds}
            report["walks"] += [_without(walk, "kept") for walk in walks.values()]
            if len(walks) == 2:
                report["walks"][-1] |= differences(walks["exact"]["kept"], walks["index"]["kept"])
    print(json.dumps(report, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("embeddings", nargs="?", type=Path)
    parser.add_argument("--rows", type=int, default=310_000)
    parser.add_argument("--dimensions", type=int, default=384, help="of the rows that are drawn")
    parser.add_argument("--budgets", type=float, nargs="*", default=[0.25, 1.0])
    parser.add_argument("--threshold", type=float, default=0.945)
    parser.add_argument("--kinds", nargs="+", choices=["exact", "index"], default=["exact", "index"])
    parser.add_argument("--check", type=int, default=5000, help="rows for which the plain loop is run")
    return parser.parse_args()


def drawn(rows: int, dimensions: int, seed: int = 0) -> np.ndarray:
    """Unit rows whose variance falls as 1 / (1 + k / 20) over the directions k, around a mean."""
    rng = np.random.default_rng(seed)
    spread = (1 + np.arange(dimensions) / 20) ** -0.5
    return unit(rng.standard_normal((rows, dimensions)) * spread + rng.standard_normal(dimensions) * spread / 2)


def grown(base: np.ndarray, rows: int, seed: int = 0) -> np.ndarray:
    """`rows` unit rows: those of `base`, then mixtures of them."""
    rng, made = np.random.default_rng(seed), np.empty((rows, base.shape[1]), dtype=np.float32)
    made[: len(base)] = base[:rows]
    for start in range(len(base), rows, 10_000):
        size = min(10_000, rows - start)
        one, plus, less = rng.integers(0, len(base), (3, size))
        share = np.exp(rng.uniform(*np.log(SPREAD), size))[:, None]
        made[start : start + size] = unit(base[one] + share * (base[plus] - base[less]))
    return made


def unit(rows: np.ndarray) -> np.ndarray:
    """float32 rows of length 1."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _measured(base: np.ndarray, threshold: float, rows: int, count: int, kind: str) -> dict[str, Any]:
    """One walk, in a process of its own."""
    embeddings = grown(base, rows)
    order = np.random.default_rng(1).permutation(rows)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, start = _peak(), time.perf_counter()
    if kind == "plain":
        kept = plain(embeddings, order, threshold, count)
    else:
        kept = diversity.walk(embeddings, order, threshold, count, rows if kind == "exact" else 0)
    seconds, seen = time.perf_counter() - start, int(np.flatnonzero(order == kept[-1])[0]) + 1
    return {"walk": kind, "rows": rows, "count": count, "kept": kept, "size": len(kept), "seen": seen,
            "rejected": round(1 - len(kept) / seen, 3), "seconds": round(seconds, 2), "extra_mib": round((_peak() - before) / 1024)}  # fmt: skip


def plain(embeddings: np.ndarray, order: np.ndarray, threshold: float, count: int) -> np.ndarray:
    """The definition: each row against every row kept before it, in float64."""
    wide, kept = embeddings.astype(np.float64), []
    for row in order.tolist():
        if all(float(wide[row] @ wide[other]) < threshold for other in kept):
            kept.append(row)
        if len(kept) == count:
            break
    return np.array(kept)


def _agreement(measured: Any, rows: int) -> dict[str, Any]:
    plain, exact, index = (measured(rows, rows, kind) for kind in ("plain", "exact", "index"))
    return {"rows": rows, "kept": plain["size"], "plain_s": plain["seconds"], "exact_s": exact["seconds"],
            "times_as_fast": round(plain["seconds"] / exact["seconds"], 1),
            "same_as_plain": bool(np.array_equal(plain["kept"], exact["kept"])),
            "index": differences(plain["kept"], index["kept"])}  # fmt: skip


def differences(exact: np.ndarray, other: np.ndarray) -> dict[str, int]:
    """How many rows only one of the two walks keeps."""
    return {"only_exact": len(np.setdiff1d(exact, other)), "only_index": len(np.setdiff1d(other, exact))}


def _without(walk: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in walk.items() if key != name}


def _peak() -> int:
    """Largest resident set, KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
