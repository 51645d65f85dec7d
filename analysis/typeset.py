"""A table of text cells, as Markdown and as LaTeX (booktabs)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

MISSING = "–"
MIDDLE, SMALL = r"\footnotesize", r"\scriptsize\setlength{\tabcolsep}{2.5pt}"
_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "−": "$-$", "≤": r"$\le$", "∩": r"$\cap$", "|": r"\textbar{}",
          "<": r"\textless{}", ">": r"\textgreater{}", "×": r"$\times$"}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """`sections` are (heading, rows) in order; a heading says what its rows have in common. `notes` stand below."""

    title: str
    columns: Sequence[str]
    sections: Sequence[tuple[str, Sequence[Sequence[str]]]]
    notes: Sequence[str] = field(default=())


def markdown(table: Table) -> str:
    """One table, a section's heading a row of its own."""
    lines = [f"**{_plain(table.title)}**", "", _row(table.columns), _row(["---", *["---:"] * (len(table.columns) - 1)])]
    for heading, rows in table.sections:
        lines.append(_row([f"*{_plain(heading)}*", *[""] * (len(table.columns) - 1)]))
        lines += [_row([_plain(cell) for cell in row]) for row in rows]
    notes = [f"- {_plain(note)}" for note in table.notes]
    return "\n".join([*lines, "", *notes, ""])


def latex(table: Table) -> str:
    """A `table*` with booktabs; needs no other package."""
    width = len(table.columns)
    body = []
    for heading, rows in table.sections:
        body += [r"\midrule", rf"\multicolumn{{{width}}}{{@{{}}p{{\textwidth}}}}{{\textit{{{_escaped(heading)}}}}} \\"]
        body += [" & ".join(_escaped(cell) for cell in row) + r" \\" for row in rows]
    notes = [rf"\par {_escaped(note)}" for note in table.notes]
    return "\n".join([
        r"\begin{table*}[t]", rf"\centering{SMALL if width > 7 else MIDDLE}", rf"\caption{{{_escaped(table.title)}}}",
        rf"\begin{{tabular}}{{@{{}}l{'r' * (width - 1)}@{{}}}}", r"\toprule",
        " & ".join(_escaped(name) for name in table.columns) + r" \\", *body, r"\bottomrule", r"\end{tabular}",
        r"\par\smallskip\begin{minipage}{\textwidth}\raggedright", *notes, r"\end{minipage}", r"\end{table*}", ""])  # fmt: skip


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    return "".join(f"\\{c}" if c in "|*_<`\\" else c for c in text)


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(c, c) for c in text)
