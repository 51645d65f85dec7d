"""An estimate as text, at most 80 columns wide."""

import textwrap
from typing import Any

from qaq.grid import grid

_WIDTH = 80


def table(estimate: dict[str, Any]) -> str:
    """The work and its time here, its time elsewhere, and what these numbers stand on."""
    parts = estimate["parts"]
    work = _grid("estimate: the work, and its time here", ("part", "pairs", "tokens", "FLOPs", "here", "peak memory"),
                 [_work(part) for part in parts])  # fmt: skip
    names = [_name(part) + (f" on {part['devices']}" if part["devices"] > 1 else "") for part in parts]
    needs = ["memory, at least", *(_bytes(part["memory_bytes"]) for part in parts)]
    rows = [
        [device["name"], *(_elsewhere(part, device["name"]) for part in parts)] for device in estimate["accelerators"]
    ]
    elsewhere = _grid("time on one accelerator (arithmetic, not measured)", ("accelerator", *names), [needs, *rows])
    return "\n".join(
        [work, elsewhere, *(textwrap.fill(note, _WIDTH, subsequent_indent="  ") for note in _notes(estimate))]
    )


def training_table(part: dict[str, Any], launch: dict[str, Any], deepspeed: dict[str, Any] | None, share: float) -> str:
    """What a training needs of each of its GPUs, and how long it takes on `launch`'s nodes and ranks of each accelerator."""
    where = f"{launch['nodes']} x {launch['ranks']} GPUs, {_sharing(deepspeed)}"
    if part["memory_bytes"] is None:
        return f"training on {where}: cannot be predicted, {part['here']['not_measured']}"
    rows = [
        [name, "yes" if found["fits"] else "no", seconds(found["seconds"])] for name, found in part["elsewhere"].items()
    ]
    grid = _grid(f"training on {where} (predicted, not measured)", ("accelerator", "fits", "predicted time"), rows)
    said = [f"predicted memory per GPU: {_bytes(part['memory_bytes'])}; in each node's own memory: "
            f"{_bytes(part['host_bytes'] * launch['ranks'])}",
            f"{part['pairs']:,} pairs, {_count(part['tokens'])} tokens, {_count(part['flops'])} FLOPs; the time assumes {share:.0%} of the "
            "peak BF16 rate (estimate.flops_share) on every GPU, with all communication in it"]  # fmt: skip
    return "\n".join([grid, *(textwrap.fill(line, _WIDTH, subsequent_indent="  ") for line in said)])


def _sharing(deepspeed: dict[str, Any] | None) -> str:
    """How ranks share weights, gradients and moments, in a word."""
    if not deepspeed:
        return "no DeepSpeed"
    zero = deepspeed.get("zero_optimization", {})
    offload = " with offload" if any(name.startswith("offload_") for name in zero) else ""
    return f"ZeRO-{zero.get('stage', 0)}{offload}"


def _grid(title: str, columns: tuple[str, ...], rows: list[list[str]]) -> str:
    return f"{title}\n{grid(columns, rows, [i > 0 for i in range(len(columns))], _WIDTH)}"


def _work(part: dict[str, Any]) -> list[str]:
    here = part["here"]
    if "seconds" not in here:
        time = memory = "-"
    else:
        time = seconds(here["seconds"]) + (f" ±{here['error']:.0%}" if here["error"] >= 0.005 else "")
        memory = _bytes(here.get("peak_bytes"))
    tokens = _count(part["tokens"]) + (" ±" + _count(part["tokens_error"]) if part["tokens_error"] else "")
    return [_name(part), f"{part['pairs'] - part['held']:,}", tokens, _count(part["flops"]), time, memory]


def _elsewhere(part: dict[str, Any], name: str) -> str:
    found = part["elsewhere"].get(name)
    if found is None:
        return "-"
    if found["fits"]:
        return seconds(found["seconds"])
    return f"needs {found['devices']}" if found["devices"] else "too small"


def _notes(estimate: dict[str, Any]) -> list[str]:
    notes = []
    for part in estimate["parts"]:
        notes.append(f"- {_name(part)}: {_of(part)}{part['model']}{_also(part)}")
    if estimate["left_out"]:
        notes.append(f"- NOT counted: what the selector asks of other models ({', '.join(estimate['left_out'])}; see signals). Unit tests "
                     "cost most: a reply for every pair.")  # fmt: skip
    if estimate["pairs_counted"] < estimate["pairs"]:
        notes.append(f"- Tokens are counted on a random sample of {estimate['pairs_counted']:,} of {estimate['pairs']:,} pairs "
                     "(estimate.pairs); ± is one standard error.")  # fmt: skip
    if any("seconds" in part["here"] for part in estimate["parts"]):
        notes.append("- Here: as fast as this machine was while it was timed, so let nothing else run; ± is one standard error of "
                     "the sample, the machine's own changes come on top.")  # fmt: skip
    assumed = estimate["assumed"]
    notes.append(f"- Accelerators: assumed are {assumed['flops_share']:.0%} of the peak BF16 rate and "
                 f"{assumed['bandwidth_share']:.0%} of the memory bandwidth (estimate.flops_share, estimate.bandwidth_share), one "
                 "device or as many as 'on N' says, start-ups left out; peak rates and their sources: conf/accelerators.yaml. 'needs N': of that many devices each holds its "
                 "share of weights, gradients and moments (ZeRO-3), a plain division.")  # fmt: skip
    return notes


def _of(part: dict[str, Any]) -> str:
    return f"{part['held']:,} of {part['pairs']:,} pairs held; " if part["held"] else ""


def _also(part: dict[str, Any]) -> str:
    here, said = part["here"], []
    if "not_measured" in here:
        said.append(f"not measured here: {here['not_measured']}")
    elif here.get("device"):
        threads = f", {here['threads']} threads" if here["threads"] else ""
        said.append(
            f"{here['timed']:.0f} s timed on {here['device']}{threads}; {here['start']:.0f} s are starts and loading"
        )
    if part["part"] == "train" and part["tokens"]:
        said.append("which pairs are chosen is not known, so each counts as the mean pair" if part["tokens_error"] else
                    "tokens are exact")  # fmt: skip
    if part["part"] == "evaluate" and part["tokens"]:
        said.append("replies as long as those that were timed" if "seconds" in here else
                    "replies as long as evaluate.max_new_tokens lets them")  # fmt: skip
        said.append("grading is not in it")
    if part["part"] == "answers":
        said.append("the NLL of the benchmark's own solutions and of held-out answers")
    return "".join(f"; {what}" for what in said) + "."


def _name(part: dict[str, Any]) -> str:
    name = part["part"].replace("score_weak", "weak score")
    return f"{name} x{part['times']}" if part["times"] > 1 else name


def seconds(value: float) -> str:
    """A duration with two or three digits: 43 s, 12 min, 3.4 h."""
    if value < 100:
        return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
    if value < 100 * 60:
        return f"{value / 60:.0f} min" if value >= 600 else f"{value / 60:.1f} min"
    return f"{value / 3600:,.0f} h" if value >= 36000 else f"{value / 3600:.1f} h"


def _bytes(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e9:.1f} GB"


def _count(value: float | None) -> str:
    """Three digits and a letter: 133 k, 2.10 M, 34.0 T."""
    if value is None:
        return "-"
    for size, letter in ((1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.{0 if value >= 100 * size else 1 if value >= 10 * size else 2}f} {letter}"
    return f"{value:.0f}"
