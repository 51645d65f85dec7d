"""What more updates on the same pairs give a selection: NLL of right answers after them, less that after fewer, and less that after
all pairs."""

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence

from analysis import scored, selected
from analysis.logs import Logs
from analysis.measures import interval
from analysis.selected import Arm, Setting
from analysis.typeset import MISSING, Table
from analysis.usable import left_out, of_data, share

log = logging.getLogger(__name__)
NEEDS = ("runs", "likelihoods", "training")
COLUMNS = ("selection", "share", "models", "updates", "NLL, fewer updates", "NLL, more updates", "more less fewer", "updates of all pairs",
           "fewer less all pairs", "more less all pairs")  # fmt: skip
_DECIDE = ("train.batch_size", "train.epochs", "train.updates")  # how many updates a recipe makes of the same pairs


def table(logs: Logs) -> Table | None:
    """A section each (data, target, texts, two recipes that differ in nothing but their updates); a row a selection of both."""
    count, out = _updates(logs), left_out(logs)
    sections = [section for section in _sections(selected.comparable(logs), count) if section[1]]
    if not sections:
        log.info("updates: no selection was trained by two usable runs that differ in nothing but their updates")
        return None
    return Table("What more updates on the same pairs give: NLL of right answers, in nats per token, lower is better", COLUMNS, sections, [
        "In brackets: 95% intervals, paired over texts, with the spread over models; not corrected for their number. All pairs: trained "
        "as the selections of fewer updates were.",
        "What makes the updates more (a smaller batch, more epochs) stands above each section, and does more than that: at one learning "
        "rate more updates go farther. Models of a random selection are of as many draws.",
        *([f"Runs left out: {'; '.join(out)}."] if out else [])])  # fmt: skip


def _updates(logs: Logs) -> dict[str, int]:
    """{run: updates of a training}."""
    last = logs.training.group_by("run").aggregate([("step", "max")])
    return dict(zip(last["run"].to_pylist(), last["step_max"].to_pylist(), strict=True))


def _sections(
    found: Sequence[tuple[Setting, str, list[Arm]]], count: Mapping[str, int]
) -> Iterator[tuple[str, list[list[str]]]]:
    for (setting, benchmark, more), (other, its, fewer) in itertools.permutations(found, 2):
        if benchmark == its and _but_updates(setting) == _but_updates(other):
            yield _heading(benchmark, setting, other, more), _section(more, fewer, count)


def _but_updates(setting: Setting) -> Setting:
    return setting._replace(rest=tuple(item for item in setting.rest if item[0] not in _DECIDE))


def _heading(benchmark: str, setting: Setting, other: Setting, more: Sequence[Arm]) -> str:
    theirs = dict(other.rest)
    apart = (f"{name} {value}, less {theirs.get(name)}" for name, value in setting.rest if theirs.get(name) != value)
    return (f"NLL of {scored.benchmark(benchmark)}; {of_data(more[-1].run)}; tuned {setting.target}, recipe {setting.train}, "
            f"{'; '.join(apart)}")  # fmt: skip


def _section(more: Sequence[Arm], fewer: Sequence[Arm], count: Mapping[str, int]) -> list[list[str]]:
    rows = []
    for arm, twin in selected.twins(more, fewer):
        full = selected.everything(twin, fewer)
        made = [count.get(one.run["run"], 0) if one else 0 for one in (twin, arm, full)]
        if not 0 < made[0] < made[1]:
            continue
        differences = (one.less(other) if other else None for one, other in ((arm, twin), (twin, full), (arm, full)))
        gained, *behind = (interval(found[0], 4) if found else MISSING for found in differences)
        rows.append([arm.name, f"{share(arm.run):.1%}", f"{len(twin.models)}, {len(arm.models)}", f"{made[0]:,}, {made[1]:,}",
                     interval(twin.nll, 4), interval(arm.nll, 4), gained, f"{made[2]:,}" if made[2] else MISSING, *behind])  # fmt: skip
    return rows
