"""The scoring engine against the plain way: same model, same pairs, in turn, several times; medians.

    python experiments/bench/scoring.py MODEL_DIR PAIRS [--pairs 512] [--rounds 3] [--dtype bfloat16] [--batch 16]

MODEL_DIR is a directory transformers loads (for instance one under runs/store/model); PAIRS is any file `data=jsonl` takes.
The plain way is how published scorers do it: a pass per likelihood, batches of 16 in file order, padded, a mask, logits for
every position. Each way runs in a process of its own, in the environment of the project's workers (qaq.launch), which keeps
freed memory in the process; both tokenise outside the clock. The ceiling is the needed floating-point operations (qaq.cost)
over the best rate of a 4096 x 4096 x 4096 matrix product that the same round measured.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from omegaconf import OmegaConf  # noqa: E402

from qaq import (  # noqa: E402
    cost,
    data,
    hardware,
    models,
)
from qaq.launch.work import environment  # noqa: E402
from qaq.score import engine, spans  # noqa: E402
from qaq.score.texts import Texts, open_texts, write_texts  # noqa: E402


def main() -> None:
    """Prints one JSON object; with --way, what that way found, into --out."""
    asked = _arguments()
    if asked.way:
        _answer(asked)
        return
    with tempfile.TemporaryDirectory() as scratch:
        rounds = [
            {way: _in_its_process(asked, way, Path(scratch)) for way in ("plain", "engine")}
            for _ in range(asked.rounds)
        ]
    first, said = rounds[0]["engine"], [_of_round(one) for one in rounds]
    middle = {name: statistics.median(one[name] for one in said) for name in said[0]}
    print(json.dumps({
        **{name: first[name] for name in ("device", "dtype", "pairs", "tokens", "plain_padding")}, **middle,
        "engine_pairs_per_s": first["pairs"] / middle["engine_s"], "engine_tokens_per_s": first["tokens"] / middle["engine_s"],
        "rounds": said,
    }, indent=1))  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("pairs_file")
    parser.add_argument("--pairs", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--way", choices=("plain", "engine"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_its_process(asked: argparse.Namespace, way: str, scratch: Path) -> dict[str, Any]:
    """What one way found; its likelihoods under "sums"."""
    command = [sys.executable, *sys.argv, "--way", way, "--out", str(scratch / way)]
    subprocess.run(command, env=environment(None), check=True)
    sums = np.load(scratch / f"{way}.npz")
    return {**json.loads((scratch / f"{way}.json").read_text()), "sums": {name: sums[name] for name in sums.files}}


def _of_round(one: dict[str, dict[str, Any]]) -> dict[str, float]:
    plain, ours = one["plain"], one["engine"]
    rate = max(plain["rate"], ours["rate"])
    gap = max(
        float((np.abs(plain["sums"][n] - ours["sums"][n]) / np.array(ours["targets"][n])).max()) for n in ours["sums"]
    )
    return {"plain_s": plain["seconds"], "engine_s": ours["seconds"], "ratio": plain["seconds"] / ours["seconds"],
            "matrix_tflops": rate / 1e12, "share_of_ceiling": ours["operations"] / rate / ours["seconds"],
            "largest_difference_nats_per_token": gap, "plain_peak_mib": plain["peak_mib"],
            "engine_peak_mib": ours["peak_mib"]}  # fmt: skip


def _answer(asked: argparse.Namespace) -> None:
    """Read all pairs in the one way; the matrix rate is the best before and after it."""
    with tempfile.TemporaryDirectory() as scratch:
        model, texts = _prepare(asked, Path(scratch))
        rate = _matrix_rate(model)
        _wait(model)
        start = time.perf_counter()
        sums = {
            name: _plain(model, t, asked.batch) if asked.way == "plain" else _engine(model, t)
            for name, t in texts.items()
        }
        _wait(model)
        seconds = time.perf_counter() - start
        peak, rate = _peak(model), max(rate, _matrix_rate(model))
    shape = cost.shape(Path(asked.model))
    np.savez(asked.out.with_suffix(".npz"), **sums)
    asked.out.with_suffix(".json").write_text(json.dumps({
        "device": torch.cuda.get_device_name() if model.device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads",
        "dtype": str(model.dtype), "pairs": len(next(iter(texts.values())).ids),
        "tokens": sum(int(t.length.sum()) for t in texts.values()), "plain_padding": _padding(texts, asked.batch),
        "operations": sum(_operations(shape, t) for t in texts.values()), "seconds": seconds, "rate": rate, "peak_mib": peak,
        "targets": {name: (t.spans[:, :, 1] - t.spans[:, :, 0]).tolist() for name, t in texts.items()},
    }))  # fmt: skip


def _prepare(asked: argparse.Namespace, scratch: Path) -> tuple[torch.nn.Module, dict[str, Texts]]:
    source = OmegaConf.to_container(OmegaConf.load(ROOT / "conf/data/jsonl.yaml"))
    (scratch / "data").mkdir()
    data.load({**source, "path": asked.pairs_file, "limit": asked.pairs}, scratch / "data")
    model, tokenizer = models.load(Path(asked.model), asked.dtype, models.device("auto"))
    reading = {**OmegaConf.to_container(OmegaConf.load(ROOT / "conf/reading/defaults.yaml")), "system_prompt": None}
    write_texts(scratch / "data/examples.parquet", tokenizer, reading, scratch)
    return model, {name: open_texts(scratch / name) for name in spans.PASSES}


def _engine(model: torch.nn.Module, texts: Texts) -> np.ndarray:
    rows = np.arange(len(texts.ids))
    return engine.Engine(model, texts, rows, hardware.default_tokens_per_batch(model)).sums(rows)


@torch.inference_mode()
def _plain(model: torch.nn.Module, texts: Texts, batch: int) -> np.ndarray:
    """A pass per likelihood; a pass ends with its target, as nothing after it matters."""
    sums = np.empty(texts.spans.shape[:2])
    for target in range(texts.spans.shape[1]):
        for first in range(0, len(texts.ids), batch):
            rows = range(first, min(first + batch, len(texts.ids)))
            sequences = [torch.from_numpy(texts.read(r)[: texts.spans[r, target, 1]]) for r in rows]
            ids_BT = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True).to(model.device)
            mask_BT = torch.nn.utils.rnn.pad_sequence([torch.ones_like(s) for s in sequences], batch_first=True)
            logits_BTV = model(input_ids=ids_BT, attention_mask=mask_BT.to(model.device)).logits
            nll_BT = torch.nn.functional.cross_entropy(
                logits_BTV[:, :-1].float().transpose(1, 2), ids_BT[:, 1:], reduction="none"
            )
            for i, r in enumerate(rows):
                start, end = texts.spans[r, target]
                sums[r, target] = nll_BT[i, start - 1 : end - 1].sum().item()
    return sums


def _padding(texts: dict[str, Texts], batch: int) -> float:
    """Share of padding among the tokens the plain way reads."""
    read = padded = 0
    for t in texts.values():
        for target in range(t.spans.shape[1]):
            lengths = t.spans[:, target, 1]
            read += int(lengths.sum())
            padded += sum(
                int(lengths[i : i + batch].max()) * len(lengths[i : i + batch]) for i in range(0, len(lengths), batch)
            )
    return 1 - read / padded


def _operations(shape: cost.Shape, texts: Texts) -> float:
    targets = float((texts.spans[:, :, 1] - texts.spans[:, :, 0]).sum())
    return cost.reading(shape, texts.length - 1, targets, len(texts.shared(range(len(texts.ids)))))


def _matrix_rate(model: torch.nn.Module) -> float:
    """Floating-point operations a second of a large matrix product in the model's dtype, best of five."""
    a, b = (torch.randn(4096, 4096, device=model.device, dtype=model.dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        _wait(model)
        start = time.perf_counter()
        a @ b
        _wait(model)
        best = min(best, time.perf_counter() - start)
    return 2 * 4096**3 / best


def _wait(model: torch.nn.Module) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def _peak(model: torch.nn.Module) -> float:
    if model.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
