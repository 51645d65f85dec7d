"""The engine against one text at a time by transformers alone, on a real model; and bfloat16 against float32.

    python experiments/bench/agreement.py MODEL_DIR PAIRS [--pairs 32] [--half-pairs 512]

MODEL_DIR is a directory transformers loads; PAIRS is any file `data=jsonl` takes. In float32 the real workers read the same
pairs under several batch budgets, shard sizes, orders and numbers of workers; each likelihood is compared with the independent
one: batch 1, all logits, no cache, log-softmax in float64. Then RMI in bfloat16 against float32, Spearman. Prints a line a
variant; ends with 1 if a likelihood is off by more than 1e-4 nats per token or the Spearman is below 0.998.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from omegaconf import OmegaConf  # noqa: E402

from qaq import data, launch, models, score, tables  # noqa: E402
from qaq.score.spans import PASSES, TARGETS  # noqa: E402
from qaq.score.texts import open_texts  # noqa: E402

# What may not change a likelihood: knobs, the order of the records, the number of workers.
VARIANTS = {
    "as it comes": {},
    "tokens_per_batch=300": {"tokens_per_batch": 300},
    "tokens_per_batch=20000": {"tokens_per_batch": 20000},
    "tokens_per_shard=1000": {"tokens_per_shard": 1000},
    "records in reverse": {"reverse": True},
    "2 workers, tokens_per_shard=1000": {"tokens_per_shard": 1000, "workers": 2},
}


def main() -> int:
    """Prints the comparison; 1 if a bound is broken."""
    asked = _arguments()
    with tempfile.TemporaryDirectory() as scratch:
        sound = _float32(asked, Path(scratch) / "float32")
        if asked.half_pairs:
            sound &= _half(asked, Path(scratch) / "half")
    return 0 if sound else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pairs_file")
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--half-pairs", type=int, default=512)
    return parser.parse_args()


def _float32(asked: argparse.Namespace, scratch: Path) -> bool:
    examples, sound = _examples(asked.pairs_file, asked.pairs, scratch), True
    for number, (name, changes) in enumerate(VARIANTS.items()):
        found = _read(asked.model, examples, scratch / str(number), dtype="float32", **changes)
        if not number:
            expected = _alone(asked.model, scratch / "0" / "texts")
        gaps = np.array([abs(value - expected[key][0]) / expected[key][1] for key, value in found.items()])
        print(f"float32, {name}: {len(gaps)} likelihoods, largest difference {gaps.max():.1e} nats per token, "
              f"mean {gaps.mean():.1e}", flush=True)  # fmt: skip
        sound &= len(gaps) == len(expected) and gaps.max() <= 1e-4
    return bool(sound)


def _half(asked: argparse.Namespace, scratch: Path) -> bool:
    examples = _examples(asked.pairs_file, asked.half_pairs, scratch)
    rmi = {}
    for dtype in ("float32", "bfloat16"):
        _read(asked.model, examples, scratch / dtype, dtype=dtype)
        likelihood = tables.read(scratch / dtype / "likelihood.parquet")
        rmi[dtype] = score.metrics(likelihood, None).sort_by("id")["rmi"].to_numpy()
    ranks = [np.argsort(np.argsort(values)) for values in rmi.values()]
    spearman = float(np.corrcoef(*ranks)[0, 1])  # no two RMI are equal, so ranks need no ties
    gap = np.abs(rmi["float32"] - rmi["bfloat16"])
    print(f"bfloat16 against float32, {len(gap)} pairs: Spearman of RMI {spearman:.5f}, mean difference {gap.mean():.4f}, "
          f"largest {gap.max():.4f} nats per token")  # fmt: skip
    return spearman >= 0.998


def _examples(pairs_file: str, pairs: int, scratch: Path) -> Path:
    source = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/data/jsonl.yaml"))
    scratch.mkdir()
    data.load({**source, "path": pairs_file, "limit": pairs}, scratch)
    return scratch / "examples.parquet"


def _read(model: Path, examples: Path, out: Path, workers: int = 1, reverse: bool = False,
          **changes) -> dict[tuple[str, str, str], float]:  # fmt: skip
    """Summed NLL by (id, target, given), through the real workers."""
    (out / "texts").mkdir(parents=True)
    if reverse:
        table = tables.read(examples)
        examples = out / "examples.parquet"
        tables.write(table.take(pa.array(range(table.num_rows))[::-1]), examples)
    settings = {**OmegaConf.to_container(OmegaConf.load(ROOT / "conf/reading/defaults.yaml")), "system_prompt": None,
                **changes}  # fmt: skip
    ask = {"model": str(model), "name": model.name, "device": "auto", "settings": settings, "passes": list(PASSES)}
    launch.workers("qaq.score.tokenise", {**ask, "examples": str(examples), "out": str(out / "texts")}, 1)
    launch.workers("qaq.score", {**ask, "texts": str(out / "texts"), "shards": str(out / "shards")}, workers)
    table = score.likelihood(out / "shards", list(PASSES), tables.read(examples, ["id"])["id"].to_pylist(), model.name)
    tables.write(table, out / "likelihood.parquet")
    return {(row["id"], row["target"], row["given"]): row["nll_sum"] for row in table.to_pylist()}


@torch.inference_mode()
def _alone(directory: Path, texts: Path) -> dict[tuple[str, str, str], tuple[float, int]]:
    """Summed NLL and tokens of every target, one text at a time."""
    model, _ = models.load(directory, "float32", models.device("auto"))
    found = {}
    for name in PASSES:
        held = open_texts(texts / name)
        for row, id in enumerate(held.ids):
            ids = torch.from_numpy(held.read(row)).to(model.device)
            log_p = model(input_ids=ids[None], use_cache=False).logits[0].double().log_softmax(-1)
            for (target, given), (start, end) in zip(TARGETS[name], held.spans[row], strict=True):
                nll = -log_p[range(start - 1, end - 1), ids[start:end]].sum().item()
                found[str(id), target, given] = (nll, int(end - start))
    return found


if __name__ == "__main__":
    sys.exit(main())
