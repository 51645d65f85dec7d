"""The report as a W&B report, for those who are logged in.

    python analysis/wandb_report.py SOURCE... --project PROJECT [--entity ENTITY]

Runs, results with intervals, what they are compared with and both extremes of RMI are written as native blocks; the whole
HTML file of analysis/report.py goes along as media of one W&B run and is shown in a panel, so the pairs can be browsed there.
Needs `pip install wandb-workspaces==0.4.13` and a login; it uploads texts of the pairs.
"""

import argparse
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from analysis import report  # noqa: E402
from analysis.findings import Rows, findings  # noqa: E402

EACH = 5  # pairs shown at each extreme
LONGEST = 4000  # characters of a text in a block
TITLE = 128  # characters W&B allows
MEDIA = "report"  # the key under which the HTML file is logged


def blocks(found: dict[str, Any], wr: ModuleType, panel: Any = None) -> list[Any]:
    """What `findings` gave as blocks of wandb_workspaces.reports.v2; `panel` is shown after the results."""
    made = [
        wr.H1(text="Runs"),
        wr.MarkdownBlock(text=_runs(found["runs"])),
        wr.H1(text="Results"),
        *_results(found, wr),
    ]
    made += [*_leakage(found["leakage"]["tli"], wr), *_composition(found["composition"], wr)]
    made += [wr.H1(text="Pairs"), panel] if panel else []
    for scoring in found["scorings"]:
        texts = found["data"][scoring["data"]]["pairs"]
        if texts and "rmi" in scoring["columns"]:
            made += [wr.H1(text=scoring["name"]), *_extremes(scoring, texts, wr)]
    return made


def _runs(runs: Rows) -> str:
    columns = ("run", "status", "pairs", "selected", "scorer", "target", "recipe", "benchmark")
    names = ("label", "status", "pairs", "selected", "scorer", "target", "train", "benchmark")
    rows = [[run[name] for name in names] for run in runs]
    for row, run in zip(rows, runs, strict=True):
        row[1] = "; ".join(str(part) for part in (run["status"], run["mark"], run["error"]) if part)
    return markdown_table(columns, rows)


def _results(found: dict[str, Any], wr: ModuleType) -> list[Any]:
    if not found["results"]:
        return [wr.P(text="No model was evaluated in these runs.")]
    names = ("benchmark", "metric", "model", "text", "tasks", "mark")
    rows = sorted(([row[name] for name in names] for row in found["results"]), key=lambda row: row[:2])
    made = [
        wr.MarkdownBlock(text=markdown_table(("benchmark", "metric", "model", "value [95%]", "tasks", "mark"), rows))
    ]
    if found["comparisons"]:
        names = ("benchmark", "metric", "model", "against", "difference", "tally", "p", "tasks")
        columns = (*names[:3], "less", "difference", "won/lost/tied", "p", "tasks")
        rows = [[row[name] for name in names] for row in found["comparisons"]]
        made += [wr.H2(text="Task by task"), wr.MarkdownBlock(text=markdown_table(columns, rows))]
    return made


def _leakage(rows: Rows, wr: ModuleType) -> list[Any]:
    """TLI of all pairs and of each selection; the texts are in the HTML file."""
    if not rows:
        return []
    columns = ("pairs of", "benchmark", "TLI", "pairs that leak", "pairs", "test items", "remark")
    shown = [[row["of"], row["benchmark"], None if row["tli"] is None else f"{row['tli']:.2%}", row["leaking"], row["pairs"],
              row["tasks"], row["note"]] for row in rows]  # fmt: skip
    return [wr.H1(text="Leakage"), wr.MarkdownBlock(text=markdown_table(columns, shown))]


def _composition(pools: Rows, wr: ModuleType) -> list[Any]:
    """A table a pool: shares in the pool and in each selection."""
    made = [wr.H1(text="Composition")] if pools else []
    for pool in pools:
        columns = ("facet", "value", "pool", *(one["label"] for one in pool["selections"]))
        rows = [[facet["facet"], value["value"], f"{value['pool'] / pool['pairs']:.1%}",
                 *(f"{count / (one['pairs'] or 1):.1%}" for count, one in zip(value["selected"], pool["selections"], strict=True))]
                for facet in pool["facets"] for value in facet["values"]]  # fmt: skip
        made += [wr.H2(text=pool["name"]), wr.MarkdownBlock(text=markdown_table(columns, rows))]
    return made


def _extremes(scoring: dict[str, Any], texts: dict[str, list[Any]], wr: ModuleType) -> list[Any]:
    """Query and answer of the pairs with the lowest and the highest RMI, as code, so that nothing in them is markup."""
    places = {id: place for place, id in enumerate(texts["id"])}
    rmi = scoring["columns"]["rmi"]
    order = sorted((i for i, value in enumerate(rmi) if value is not None), key=lambda i: rmi[i])
    made = []
    for end, pairs in (("Lowest", order[:EACH]), ("Highest", order[::-1][:EACH])):
        made.append(wr.H2(text=f"{end} RMI"))
        for pair in pairs:
            place = places[scoring["ids"][pair]]
            made.append(wr.P(text=f"RMI {rmi[pair]:.3f}, {scoring['ids'][pair]}"))
            made += [
                wr.CodeBlock(code=texts[name][place][:LONGEST], language="markdown") for name in ("query", "answer")
            ]
    return made


def markdown_table(columns: tuple[str, ...], rows: list[list[Any]]) -> str:
    """A Markdown table; what is in a cell stays in it and is no markup."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{c}" if c in "\\|*_`[]" else c for c in text)


def publish(found: dict[str, Any], project: str, entity: str | None) -> str:
    """Upload the HTML file, save the report, return its address. SystemExit without the library or a login."""
    wr = _library()
    import wandb

    try:
        wandb.login()
    except wandb.errors.UsageError as error:
        raise SystemExit(f"{error} Or make the file with analysis/report.py") from error
    title = f"QAQ report: {found['title']}"
    with wandb.init(project=project, entity=entity, job_type="report", name=title[:TITLE]) as run:
        run.log({MEDIA: wandb.Html(report.page(found), inject=False)})
    runset = wr.Runset(entity=run.entity, project=run.project, filters=f"ID == '{run.id}'")
    panel = wr.PanelGrid(runsets=[runset], panels=[wr.MediaBrowser(media_keys=[MEDIA], num_columns=1)])
    made = wr.Report(
        project=run.project, entity=run.entity, title=title[:TITLE], blocks=blocks(found, wr, panel), width="fluid"
    )
    return made.save().url


def _library() -> ModuleType:
    try:
        import wandb_workspaces.reports.v2 as wr
    except ImportError as error:
        raise SystemExit(
            f"{error}: pip install wandb-workspaces==0.4.13, or make the file with analysis/report.py"
        ) from error
    return wr


def main() -> int:
    """Read the sources, publish, print the address. Exit status: 0 published, 2 refused."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", nargs="+", help="as for analysis/report.py")
    parser.add_argument("--project", required=True)
    parser.add_argument("--entity", help="default: yours")
    asked = parser.parse_args()
    try:
        print(publish(findings(report.read(asked.source)), asked.project, asked.entity))
    except (ValueError, OSError) as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
