"""The tables of every run, as LOGS holds them: read as the run left them, with the run's own name."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from analysis import logs
from analysis.logs import Logs
from analysis.runs import Run
from qaq.evaluate import HELD_OUT
from qaq.tables import COMPOSITION, EXAMPLES, LEAKAGE, METRICS, SUBSET, Schema, read, read_jsonl, shape

Row = dict[str, Any]


def tables(runs: list[Run], texts: bool) -> Logs:
    """LOGS of `runs`; `texts`: also the pairs and the quarantine."""
    whole = [run for run in runs if run.whole]
    scores = _scores(whole)  # first: it tells the runs which scores are theirs
    held = {"runs": [run.row for run in runs], "metrics": scores,
            "subsets": _own(whole, "subset", SUBSET, logs.SUBSETS),
            "composition": _own(whole, "composition", COMPOSITION, logs.SCHEMAS["composition"]),
            "leakage": _leakage(whole, texts)}  # fmt: skip
    for name, make in (("results", _results), ("comparisons", _comparisons), ("noise", _noise), ("training", _training),
                       ("answers", _answers), ("likelihoods", _likelihoods), ("tli", _tli)):  # fmt: skip
        held[name] = [row for run in whole for row in make(run)]
    if texts:
        held |= {"pairs": _pairs(whole), "quarantine": _quarantine(whole)}
    return logs.conform(**held)


def _has(run: Run, table: str) -> bool:
    """Whether the run made the table. Earlier results name no files: then it is as their other words say."""
    result = run.attempt.result
    if "files" in result:
        return f"{table}.parquet" in result["files"]
    made = {"metrics": "score" in result["keys"], "subset": "selected" in result["counts"]}
    return made.get(table, False) and (run.attempt.folder / f"{table}.parquet").is_file()


def _table(run: Run, name: str) -> pa.Table:
    return read(run.attempt.folder / f"{name}.parquet")


def _joined(parts: list[pa.Table], schema: logs.Schema) -> pa.Table:
    return pa.concat_tables([schema.columns.empty_table(), *parts])


def _marked(table: pa.Table, schema: logs.Schema, **values: str) -> pa.Table:
    """`table` with columns that hold one value each, as `schema` has them."""
    for name, value in values.items():
        table = table.append_column(name, pa.array([value] * table.num_rows, pa.string()))
    return shape(table, schema)


def _scores(runs: list[Run]) -> pa.Table:
    """Every distinct METRICS once, with the noise labels of whoever has them."""
    held: dict[str, pa.Table] = {}
    labelled: dict[str, pa.Table] = {}
    for run in runs:
        if not _has(run, "metrics"):
            continue
        metrics = shape(_table(run, "metrics"), METRICS).sort_by("id")
        digest = run.row["scores"] = _digest(metrics)
        held.setdefault(digest, metrics)
        if _has(run, "labels"):
            labelled.setdefault(digest, _table(run, "labels"))
    return _joined([_with_noise(digest, held[digest], labelled.get(digest)) for digest in sorted(held)], logs.SCORES)


def _digest(metrics: pa.Table) -> str:
    """Of the values, whatever the file's format."""
    digest = hashlib.sha256("\n".join(metrics["id"].to_pylist()).encode())
    for name in metrics.column_names[1:]:
        digest.update(metrics[name].to_numpy().astype("<f8").tobytes())
    return digest.hexdigest()[:12]


def _with_noise(digest: str, metrics: pa.Table, labels: pa.Table | None) -> pa.Table:
    if labels is not None:
        places = pc.index_in(metrics["id"], labels["id"])
        for name in labels.column_names[1:]:
            metrics = metrics.append_column(name, labels[name].take(places))
    return _marked(metrics, logs.SCORES, scores=digest)


def _own(runs: list[Run], name: str, schema: Schema, marked: logs.Schema) -> pa.Table:
    """The table `name` of every run that made one, each with its run."""
    made = [_marked(shape(_table(run, name), schema), marked, run=run.row["run"]) for run in runs if _has(run, name)]
    return _joined(made, marked)


def _leakage(runs: list[Run], texts: bool) -> pa.Table:
    """What every run's pairs give away, with the worst ones' texts where they were asked for and lie there."""
    made = []
    for run in (run for run in runs if _has(run, "leakage")):
        rows, file = _table(run, "leakage").to_pylist(), run.attempt.folder / "leaks.parquet"
        told = {_item(row): row for row in read(file).to_pylist()} if texts and file.is_file() else {}
        made.append(
            _marked(
                shape([told.get(_item(row), row) for row in rows], LEAKAGE), logs.SCHEMAS["leakage"], run=run.row["run"]
            )
        )
    return _joined(made, logs.SCHEMAS["leakage"])


def _item(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in LEAKAGE.key)


def _tli(run: Run) -> Iterator[Row]:
    for row in run.attempt.result.get("leakage", []):
        yield {**row, "run": run.row["run"]}


def _results(run: Run) -> Iterator[Row]:
    for row in run.attempt.result["values"]:
        yield {**row, "run": run.row["run"]}


def _comparisons(run: Run) -> Iterator[Row]:
    for row in run.attempt.result.get("comparisons", []):
        yield {**row, "run": run.row["run"]}


def _noise(run: Run) -> Iterator[Row]:
    result, told = run.attempt.result, []
    told += [("all", metric, value) for metric, value in result.get("noise", {}).items()]
    for row in result.get("noise_auc", []):
        told.append((row["kind"], "pairs", row["pairs"]))
        told += [(row["kind"], f"auc {name}", value) for name, value in row.items() if name not in ("kind", "pairs")]
    for row in result.get("noise_by_selector", []):
        told += [(f"selector {row['selector']}", name, row[name]) for name in ("selected", "in_subset") if name in row]
    for kind, metric, value in told:
        yield {"run": run.row["run"], "kind": kind, "metric": metric, "value": None if value is None else float(value)}


def _training(run: Run) -> Iterator[Row]:
    """The updates among the run's records."""
    columns = set(logs.TRAINING.columns.names)
    for record in _records(run):
        if record["stage"] == "train" and "step" in record:
            row = {**record, "run": run.row["run"], "train_seed": record["seed"]}
            yield {name: value for name, value in row.items() if name in columns}


def _records(run: Run) -> Iterator[Row]:
    file = run.attempt.folder / "metrics.jsonl"
    return read_jsonl(file) if file.is_file() else iter(())


def _answers(run: Run) -> Iterator[Row]:
    for model in run.attempt.result.get("evaluated", []):
        parts = [
            run.attempt.folder / f"{part}_{model['name']}.parquet" for part in ("verdicts", "solutions", "likelihood")
        ]
        if not all(part.is_file() for part in parts):
            continue
        verdicts, solutions, likelihood = (read(part).to_pylist() for part in parts)
        said = {(row["task_id"], row["sample"]): row for row in solutions}
        nll = {row["id"]: row for row in likelihood}
        for row in verdicts:
            reply, canonical = said[row["task_id"], row["sample"]], nll.get(row["task_id"], {})
            yield {**{name: row[name] for name in row if name != "seconds"}, "run": run.row["run"], "selector": model["selector"],
                   "train_seed": model["train_seed"], "tokens": reply["tokens"], "capped": reply["capped"],
                   "nll_sum": canonical.get("nll_sum"), "nll_tokens": canonical.get("tokens")}  # fmt: skip


def _likelihoods(run: Run) -> Iterator[Row]:
    for model in run.attempt.result.get("evaluated", []):
        asked = run.row["benchmark"] + run.attempt.result.get("partial", "")
        for part, benchmark in (("likelihood", asked), ("held_out", HELD_OUT)):
            file = run.attempt.folder / f"{part}_{model['name']}.parquet"
            for row in read(file, ["id", "nll_sum", "tokens"]).to_pylist() if file.is_file() else ():
                yield {**row, "run": run.row["run"], "selector": model["selector"], "train_seed": model["train_seed"],
                       "benchmark": benchmark}  # fmt: skip


def _pairs(runs: list[Run]) -> pa.Table:
    """The texts of every data set that lies with one of its runs."""
    held: dict[str, pa.Table] = {}
    for run in runs:
        file, digest = run.attempt.folder / "examples.parquet", run.row["data_digest"]
        if digest not in held and "load" in run.attempt.result["keys"] and file.is_file():
            columns = [name for name in EXAMPLES.columns.names if name != "record"]
            held[digest] = _marked(read(file, columns), logs.PAIRS, data_digest=digest)
    return _joined(list(held.values()), logs.PAIRS)


def _quarantine(runs: list[Run]) -> list[Row]:
    """What every run refused of its data: a record once, though another run's model can refuse others."""
    refused: dict[tuple, Row] = {}
    for run in runs:
        file: Path = run.attempt.folder / "quarantine.jsonl"
        for line in read_jsonl(file) if "load" in run.attempt.result["keys"] and file.is_file() else ():
            row = {"data_digest": run.row["data_digest"], "row": line["row"], "reason": line["reason"],
                   "record": json.dumps(line["record"], ensure_ascii=False)}  # fmt: skip
            refused[tuple(row.values())] = row
    return list(refused.values())
