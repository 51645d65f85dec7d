"""How every figure looks and how its files get the same bytes each time.

A selector keeps its colour, marker and line in every figure. Colours are Okabe and Ito's, which the colour-blind tell apart; the
markers and lines tell them apart without any colour.
"""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.usable import Run, Scores, of_data, of_scorer

STYLE = Path(__file__).with_name("style.mplstyle")
COLUMN, PAGE = 3.3, 6.75  # inches: one column, both
BLUE, SKY, GREEN, YELLOW, ORANGE, RED, PURPLE = (
    "#0072B2", "#56B4E9", "#009E73", "#F0E442", "#E69F00", "#D55E00", "#CC79A7")  # fmt: skip
DARK, GREY, PALE = "0.15", "0.45", "0.8"
CROWD = 3_000  # more points than this are drawn as pixels, the more of them the lighter
_NOTE_LETTERS, _NOTE_LINE = 19, 0.115  # of the note's type: letters an inch, inches a line


class Look(NamedTuple):
    """Colour, marker and line of one selector."""

    color: str
    marker: str
    line: Any


LOOKS = {
    "Base": Look(GREY, "_", (0, (1, 1.5))), "Full": Look("black", "s", "-"), "Random": Look(GREY, "o", (0, (4, 1.5))),
    "IFD": Look(ORANGE, "v", (0, (1, 1))), "RMI (global)": Look(SKY, "D", (0, (5, 1, 1, 1))),
    "RMI (stratified)": Look(BLUE, "^", "-"), "RMI (stratified), low=0.0": Look("#002B49", "d", (0, (1, 1))),
    "RMI (stratified), low=0.25": Look("#004F80", "8", (0, (3, 1))), "RMI (stratified), low=0.75": Look("#4F9BD0", "H", (0, (5, 2))),
    "Diff-High": Look(RED, "P", (0, (3, 1, 1, 1, 1, 1))),
    "Diff-Low": Look(PURPLE, "X", (0, (2, 2))), "Sum-High": Look(GREEN, ">", (0, (7, 2))),
    "Sum-Low": Look("#8C6D1F", "<", (0, (1, 3))), "RDS+": Look("#5D3A9B", "p", (0, (6, 1, 2, 1))),
    "SCAR": Look("#40B0A6", "h", (0, (2, 1))), "XCoder": Look("#7A0A1E", "*", (0, (8, 1, 1, 1, 1, 1)))}  # fmt: skip

VARIANTS = ("d", "8", "H", "*", "p", "h")


def look(name: str) -> Look:
    """Of a selector. With options that are not its defaults it has another marker, unknown it is black."""
    if name in LOOKS:
        return LOOKS[name]
    plain, _, options = name.partition(", ")
    known = LOOKS.get(plain, Look("black", "*", (0, (1, 2))))
    return known._replace(marker=VARIANTS[crc32(options.encode()) % len(VARIANTS)]) if options else known


def order(name: str) -> tuple[int, str]:
    """Sorts selectors as in `LOOKS`."""
    plain = name.partition(", ")[0]
    return (list(LOOKS).index(plain) if plain in LOOKS else len(LOOKS), name)


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's defaults and our style file, whatever the user's matplotlibrc says; restored at the end."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.style.use(STYLE)
        yield


def blank(height: float, width: float = COLUMN) -> Figure:
    """An empty figure, in inches."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, stem: Path) -> list[Path]:
    """`stem`.pdf and .png without a date or a program's name in them."""
    files = [stem.with_suffix(".pdf"), stem.with_suffix(".png")]
    figure.savefig(files[0], metadata={"Creator": None, "Producer": None, "CreationDate": None})
    figure.savefig(files[1], metadata={"Software": None})
    return files


def note(figure: Figure, *sentences: str) -> None:
    """What was drawn, below everything: size, data, models, what lies outside. The figure grows by its height."""
    width = int(_NOTE_LETTERS * figure.get_figwidth())
    lines = textwrap.wrap(" ".join(filter(None, sentences)), width, break_on_hyphens=False)
    figure.set_figheight(figure.get_figheight() + _NOTE_LINE * len(lines))
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7, color="0.3", linespacing=1.15)


def of_scores(scores: Scores, weak: bool = False) -> str:
    """The sentence that says how large, on which data, read by which model, or by which two."""
    run: Run = scores.runs[0]
    others = (
        f" {scores.others} other set{'s' * (scores.others > 1)} of scores in the logs not shown."
        if scores.others
        else ""
    )
    return f"n = {of_data(run)}; scorer {of_scorer(run) if weak else run['scorer']}.{others}"


def outside(count: int) -> str:
    """How many points the axes leave out."""
    return f"{count:,} pair{'s' * (count != 1)} outside the axes." if count else "No pair lies outside the axes."


def points(axes: Axes, x: Any, y: Any, **how: Any) -> None:
    """A cloud: letters and lines stay vectors, a large cloud becomes pixels."""
    many = len(x) > CROWD
    size, alpha = (1.0, max(0.03, min(0.4, 4_000 / len(x)))) if many else (5.0, 0.5)
    axes.scatter(x, y, **{"s": size, "alpha": alpha, "color": GREY, "linewidths": 0, "rasterized": many, **how})


def letter(axes: Axes, text: str) -> None:
    """A panel's title."""
    axes.set_title(text, pad=4)
