"""The disagreement ablation: which end of Diff and Sum to keep (QAQ, section 3)."""

from analysis import paper
from analysis.logs import Logs
from analysis.tables.main import compared
from analysis.typeset import Table

NEEDS = ("runs", "results")


def table(logs: Logs) -> Table | None:
    """The main table's form with the four selections by disagreement."""
    title = "Selections by strong/weak disagreement: pass@1 in %, the paper's beside ours"
    return compared(logs, title, paper.NUMBERS["disagreement"], "disagreement", others=False)
