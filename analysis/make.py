"""Every figure and table of paper_figs/ from LOGS: `python analysis/make.py [SOURCE ...] [--out paper_figs]`.

SOURCE is a LOGS folder, or anything `analysis/fetch.py` takes (run and sweep folders, W&B); without one, the LOGS that lie under
experiments/results/. The same LOGS give the same bytes. manifest.json says of each file which data and which commit it is of; what
cannot be made from these LOGS is told with its reason, and what an earlier call made of it is removed.
"""

import argparse
import functools
import hashlib
import importlib
import json
import logging
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from analysis import drawing, logs, typeset  # noqa: E402
from analysis.logs import Logs  # noqa: E402
from qaq.store import file_digest, fingerprint  # noqa: E402

log = logging.getLogger("make")
RESULTS = ROOT / "experiments" / "results"
MANIFEST = "manifest.json"
# Of rows that agree in these columns one stays, the first in this order; null comes last.
_FIRST = {
    "runs": (["run", "status", "mark"], ("started", "descending")),
    "metrics": (["scores", "id"], ("noise", "ascending")),
}
_BATCH = 10_000  # rows turned to text at once; part of the digest


def main(arguments: list[str]) -> int:
    """Exit status: 0 made, 2 refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", metavar="SOURCE")
    parser.add_argument("--out", type=Path, default=ROOT / "paper_figs")
    asked = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("fontTools").setLevel(logging.WARNING)  # tells each table of each font
    try:
        held = gathered(asked.sources)
    except (ValueError, OSError) as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 2
    made = make(held, asked.out)
    print(f"{len(made)} files in {asked.out}")
    return 0


def gathered(sources: list[str]) -> Logs:
    """The LOGS of the sources. ValueError, naming the way out, where there are none."""
    asked = sources or [str(file.parent) for file in sorted(RESULTS.rglob("runs.parquet"))]
    if not asked:
        raise ValueError(f"no logs in {RESULTS}: name a run, a sweep, a W&B folder or a LOGS folder")
    ready = [source for source in asked if (Path(source) / "runs.parquet").is_file()]
    rest = [source for source in asked if source not in ready]
    held = [logs.read(Path(source)) for source in ready]
    if rest:
        from analysis import fetch

        held.append(fetch.fetch(rest))
    return joined(held)


def joined(several: list[Logs]) -> Logs:
    """The tables that figures and tables use, of all of them. What two of them hold is there once: a run and all that is told of it
    by its newest attempt, a score with the label of whoever knows it."""
    newest = _newest(several)
    needed = sorted({table for kind in ("figures", "tables") for module in modules(kind) for table in module.NEEDS})
    held = {}
    for name in needed:
        rows = pa.concat_tables(_own(getattr(one, name), newest[k], name) for k, one in enumerate(several))
        if name in _FIRST:
            rows = _first(rows, *_FIRST[name])
        held[name] = rows.group_by(rows.column_names, use_threads=False).aggregate([])
    return logs.conform(**held)


def _newest(several: list[Logs]) -> list[list[str]]:
    """Of each LOGS the runs whose newest attempt it tells; a run trained again elsewhere took other seconds, if nothing else."""
    told: dict[str, tuple[str, int]] = {}
    for k, one in enumerate(several):
        for run, started in zip(one.runs["run"].to_pylist(), one.runs["started"].to_pylist(), strict=True):
            if run not in told or str(started or "") > told[run][0]:
                told[run] = (str(started or ""), k)
    return [[run for run, (_, at) in told.items() if at == k] for k in range(len(several))]


def _own(rows: pa.Table, runs: list[str], name: str) -> pa.Table:
    """The rows of these runs; all of RUNS, which are sorted out by _FIRST, and of a table that is not of runs."""
    if name == "runs" or "run" not in rows.column_names:
        return rows
    return rows.filter(pc.is_in(rows["run"], pa.array(runs, pa.string())))


def _first(rows: pa.Table, alike: list[str], order: tuple[str, str]) -> pa.Table:
    rows = rows.sort_by([order])
    numbered = rows.append_column("place", pa.array(range(len(rows)), pa.int64()))
    return rows.take(numbered.group_by(alike, use_threads=False).aggregate([("place", "min")])["place_min"])


def make(held: Logs, out: Path) -> dict[str, Any]:
    """Writes all files and the manifest into `out`; returns what the manifest says of each file."""
    out.mkdir(parents=True, exist_ok=True)
    before = json.loads((out / MANIFEST).read_text())["files"] if (out / MANIFEST).is_file() else {}
    digests, files = functools.cache(lambda table: digest(held, table)), {}

    def keep(file: Path, module: ModuleType) -> None:
        data = fingerprint({table: digests(table) for table in module.NEEDS})
        files[file.name] = {"sha256": file_digest(file), "data": data, "tables": list(module.NEEDS)}

    with drawing.style():
        for module in modules("figures"):
            figure = module.figure(logs.only(held, module.NEEDS))
            for file in drawing.save(figure, out / name(module)) if figure else ():
                keep(file, module)
    for module in modules("tables"):
        table = module.table(logs.only(held, module.NEEDS))
        for suffix, text in (("md", typeset.markdown), ("tex", typeset.latex)) if table else ():
            file = out / f"table_{name(module)}.{suffix}"
            file.write_text(text(table), encoding="utf-8")
            keep(file, module)
    for old in sorted(set(before) - set(files)):
        (out / old).unlink(missing_ok=True)
        log.info("%s: removed, these logs do not give it", old)
    manifest = {"commit": commit(), "files": dict(sorted(files.items()))}
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return files


def modules(folder: str) -> list[ModuleType]:
    """The files of analysis/figures or analysis/tables, found by listing."""
    names = sorted(file.stem for file in (ROOT / "analysis" / folder).glob("*.py") if file.stem != "__init__")
    return [importlib.import_module(f"analysis.{folder}.{each}") for each in names]


def name(module: ModuleType) -> str:
    """A file's name without its ending."""
    return module.__name__.rpartition(".")[2]


def digest(held: Logs, table: str) -> str:
    """SHA-256 of the content of one table of LOGS, whatever file it came from."""
    found = hashlib.sha256()
    for part in getattr(held, table).combine_chunks().to_batches(max_chunksize=_BATCH):
        found.update(json.dumps(part.to_pylist()).encode())
    return found.hexdigest()


def commit() -> str | None:
    """The last one that changed the code (analysis/ or src/), so that to commit the figures makes no other; "+" behind it where
    the code differs from it; None outside a repository."""
    git, code = ["git", "-C", str(ROOT)], ["--", "analysis", "src"]
    last = subprocess.run([*git, "log", "-1", "--format=%H", *code], capture_output=True, text=True)
    if not last.stdout.strip():
        return None
    changed = subprocess.run([*git, "status", "--porcelain", *code], capture_output=True, text=True).stdout
    return last.stdout.strip() + ("+" if changed else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
