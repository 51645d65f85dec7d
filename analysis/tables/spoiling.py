"""What spoiling a part of the pairs costs a selection: NLL of right answers after it, less that after the same selection of the pairs
as they were found."""

import logging
from collections.abc import Iterator, Sequence

from analysis import scored, selected
from analysis.logs import Logs
from analysis.measures import interval
from analysis.selected import Arm, Setting
from analysis.typeset import MISSING, Table
from analysis.usable import Run, asked, of_data, share, spoiled

log = logging.getLogger(__name__)
NEEDS = ("runs", "likelihoods")
COLUMNS = (
    "selection",
    "share",
    "models",
    "NLL, as they are",
    "NLL, spoiled",
    "what spoiling costs",
    "less what it costs a random one",
)


def table(logs: Logs) -> Table | None:
    """A section each (data, target, recipe, texts); a row a selection of both."""
    sections = [section for section in _sections(selected.comparable(logs)) if section[1]]
    if not sections:
        log.info(
            "spoiling: no usable run was trained on spoiled pairs that has a twin trained on the same pairs as they are"
        )
        return None
    return Table("What spoiling costs: NLL of right answers, in nats per token, lower is better", COLUMNS, sections, [
        "In brackets: 95% intervals, paired over texts, with the spread over models; not corrected for their number. The pairs were spoiled "
        "once: of another draw, or of other defects, they do not tell."])  # fmt: skip


def _sections(found: Sequence[tuple[Setting, str, list[Arm]]]) -> Iterator[tuple[str, list[list[str]]]]:
    for setting, benchmark, after in found:
        for other, its, before in found:
            if (benchmark, setting._replace(data="")) == (its, other._replace(data="")) and _made_of(after, before):
                yield _heading(benchmark, after, before), _section(after, before)


def _made_of(after: Sequence[Arm], before: Sequence[Arm]) -> bool:
    """Whether the pairs of `after` are those of `before`, spoiled."""
    ours, theirs = after[-1].run, before[-1].run
    return spoiled(ours) and not spoiled(theirs) and _found(ours) == _found(theirs)


def _found(run: Run) -> dict[str, object]:
    """Which pairs it began with: its settings of `data` but what was spoiled."""
    return {name: value for name, value in asked(run, "data").items() if name not in ("noise", "noise_kinds")}


def _heading(benchmark: str, after: Sequence[Arm], before: Sequence[Arm]) -> str:
    ours, theirs = after[-1].run, before[-1].run
    return (f"NLL of {scored.benchmark(benchmark)}; {of_data(ours)}, less {of_data(theirs)}; tuned {ours['target']}, recipe "
            f"{ours['train']}")  # fmt: skip


def _section(after: Sequence[Arm], before: Sequence[Arm]) -> list[list[str]]:
    twins, rows = selected.twins(after, before), []
    for arm, twin in twins:
        cost, random = arm.less(twin), selected.random_of(arm, after)
        its = next((its for one, its in twins if one is random), None)
        beyond = selected.contrast((1, arm), (-1, twin), (-1, random), (1, its)) if random and its else None
        rows.append([arm.name, f"{share(arm.run):.1%}", f"{len(twin.models)}, {len(arm.models)}", interval(twin.nll, 4), interval(arm.nll, 4),
                     *(interval(found[0], 4) if found else MISSING for found in (cost, beyond))])  # fmt: skip
    return rows
