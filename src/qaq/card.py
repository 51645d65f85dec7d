"""What is said of a subset and of a trained model where they are shared: facts by name, a card and a loss curve."""

import json
import shlex
from pathlib import Path
from typing import Any

from qaq.job import Job
from qaq.tables import read_jsonl


def of_subset(job: Job, pairs: int) -> dict[str, Any]:
    """Where the selected pairs come from and how they were chosen; `pairs`: how many there were to choose from."""
    cfg, keys = job.cfg, job.result["keys"]
    source = cfg["data"]["id"] or (Path(cfg["data"]["path"]).name if cfg["data"]["path"] else cfg["data"]["name"])
    options = ", ".join(f"{key}={value}" for key, value in cfg["selector"].items() if key != "name")
    return {"data": source, "data digest": keys["data"], "data key": keys["load"],
            "rows in the source": job.result["counts"]["rows"],
            "quarantined": job.result["counts"]["quarantined"], "usable pairs": pairs,
            "selected pairs": job.result["counts"]["selected"], "scorer": cfg["scorer"]["model"]["name"],
            "weak scorer": (cfg["scorer"]["weak"] or {}).get("name", "none"), "scores' key": keys["score"],
            "selector": f"{cfg['selector']['name']} ({options})", "budget": cfg["budget"], "seed": cfg["seed"],
            "made again by": f"`{shlex.join(['python', 'src/main.py', *job.result['overrides']])}`"}  # fmt: skip


def of_recipe(settings: dict[str, Any]) -> dict[str, Any]:
    """The training settings that were set."""
    return {
        f"train.{name}": value
        for name, value in settings.items()
        if value is not None and name not in ("by_share", "seeds")
    }


def loss_figure(lines: list[dict[str, Any]], file: Path) -> None:
    """Loss (nats per completion token) and learning rate of each update."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    steps = [line["step"] for line in lines]
    figure, axes = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
    axes.plot(steps, [line["loss"] for line in lines], color="#0072B2", linewidth=1.2)
    axes.set_xlabel("update")
    axes.set_ylabel("loss (nats per completion token)", color="#0072B2")
    rate = axes.twinx()
    rate.plot(steps, [line["learning_rate"] for line in lines], color="0.6", linewidth=0.8)
    rate.set_ylabel("learning rate", color="0.4")
    for one in (axes, rate):
        one.spines["top"].set_visible(False)
    figure.savefig(file, dpi=150)
    plt.close(figure)


def rows(facts: dict[str, Any]) -> str:
    """`facts` as the rows of a Markdown table."""
    cells = ((name, str(value).replace("|", "\\|").replace("\n", " ")) for name, value in facts.items())
    return "\n".join(f"| {name} | {value} |" for name, value in cells)


def write_model_card(made: Path, base: dict[str, Any], facts: dict[str, Any]) -> None:
    """README.md and loss.png in `made`/model, from the training.jsonl and counts.json beside it; `base`: the model's spec."""
    lines = list(read_jsonl(made / "training.jsonl"))
    counts = json.loads((made / "counts.json").read_text())
    loss_figure(lines, made / "model" / "loss.png")
    departure = (
        {"departure from the paper": "an adapter was trained, not all weights"} if facts.get("train.adapter") else {}
    )
    named = f"\nbase_model: {base['id']}" if base["id"] else ""
    (made / "model" / "README.md").write_text(f"""---
library_name: transformers
pipeline_tag: text-generation{named}
---
# {base["name"]}, fine-tuned on {counts["trained"]} selected pairs

Loss from {lines[0]["loss"]:.3f} to {lines[-1]["loss"]:.3f} nats per completion token in {counts["steps"]} updates.
Selections of the same pairs share this model; the one named here is the first that was run.

![loss and learning rate](loss.png)

| what | value |
|---|---|
{rows({**facts, **departure, **counts})}
""", encoding="utf-8")  # fmt: skip
