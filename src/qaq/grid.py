"""A table as text; the one place that draws one."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool], width: int | None,
         **looks: Any) -> str:  # fmt: skip
    """At most `width` wide (None: the terminal's); `right` says which columns hold numbers; `looks` are rich's Table's."""
    table = Table(**looks)
    for name, numeric in zip(columns, right, strict=True):
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # Text: a bracket is a bracket
    console = Console(width=width, highlight=False, markup=False)
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip()
