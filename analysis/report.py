"""One HTML file about runs: what was run, what came out, and the pairs themselves.

    python analysis/report.py SOURCE... --out report.html

A SOURCE is a LOGS folder, or whatever analysis/fetch.py reads. The file needs nothing beside it: no network, no server; what
it shows lies inside as compressed JSON and is put on the page as text, never as markup. Its policy (CSP) allows the page's
own script by digest and nothing else, so even a hole in that would load and run nothing. The plots are about 400 lines of ours
instead of plotly, which would add 4.8 MB to every report (all of the page but its data is 0.08 MB); code is coloured when it
is opened, because Pygments reads 0.39 MB/s here, a minute for 10,000 pairs of 2 KB, and knows no language without a fence.
"""

import argparse
import base64
import gzip
import hashlib
import html
import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from analysis import logs  # noqa: E402
from analysis.fetch import fetch  # noqa: E402
from analysis.findings import findings  # noqa: E402
from analysis.logs import Logs  # noqa: E402

PARTS = Path(__file__).with_suffix("")
SCRIPTS = ("element.js", "text.js", "model.js", "plot.js", "plots.js", "list.js", "reader.js", "tables.js",
           "contents.js", "page.js")  # fmt: skip
POLICY = (
    "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
)


def page(found: dict[str, Any]) -> str:
    """The whole HTML file for what `findings` gave. The same findings give the same bytes."""
    style = (PARTS / "style.css").read_text(encoding="utf-8")
    script = "".join((PARTS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    fill = {
        "title": html.escape(found["title"]),
        "policy": POLICY.format(script=_digest(script), style=_digest(style)),
        "style": style,
        "script": script,
        "data": packed(found),
    }
    template = (PARTS / "page.html").read_text(encoding="utf-8")
    return re.sub(r"{{(\w+)}}", lambda marker: fill[marker[1]], template)


def packed(found: dict[str, Any]) -> str:
    """Compressed JSON in base64: its alphabet has no character that HTML knows. Half a surrogate pair stays an escape."""
    text = json.dumps(found, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("ascii"), 6, mtime=0)).decode("ascii")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def main() -> int:
    """Read the sources, write the file, say how large it is. Exit status: 0 made, 2 refused."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "source", nargs="+", help="a LOGS folder, a run or sweep folder, or wandb:ENTITY/PROJECT[/GROUP]"
    )
    parser.add_argument("--out", type=Path, default=Path("report.html"), help="default: report.html")
    asked = parser.parse_args()
    try:
        text = page(findings(read(asked.source)))
        asked.out.write_text(text, encoding="utf-8")
    except (ValueError, OSError) as refusal:
        print(f"refused: {refusal}", file=sys.stderr)
        return 2
    print(f"{asked.out}: {len(text) / 1e6:.1f} MB")
    return 0


def read(sources: list[str]) -> Logs:
    """LOGS with the texts: a folder that holds them, or what analysis/fetch.py finds in the sources."""
    if len(sources) == 1 and (Path(sources[0]) / "runs.parquet").is_file():
        return logs.read(Path(sources[0]))
    return fetch(sources, texts=True)


if __name__ == "__main__":
    sys.exit(main())
