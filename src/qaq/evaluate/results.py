"""What an evaluated model's tables say, as rows: how good it is, and how much better than another.

pass@1 moves late: a small model passes little, and a small change of it less. So beside it stand what moves earlier: the
canonical solutions' likelihood, and how many replies are no Python, run out of time or never end, and how long they are.
Several training seeds of one model are one list; their tables are joined by task.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from qaq.evaluate import statistics
from qaq.evaluate.statistics import Estimate

HELD_OUT = "held_out"  # in place of a benchmark's name: pairs of the data that were set aside
PLUS = "_plus"  # of a benchmark's name: graded on EvalPlus's inputs too
_KS = (5, 10, 100)  # of pass@k, where there are as many samples; Chen et al. 2021 give 10 and 100


class Measured(NamedTuple):
    """One model's tables: VERDICTS and SOLUTIONS (empty where nothing was asked), LIKELIHOOD of the canonical solutions
    (id = task_id), and of the held-out pairs' answers, where some were set aside."""

    verdicts: pa.Table
    solutions: pa.Table
    likelihood: pa.Table
    held_out: pa.Table | None = None


@dataclass(frozen=True)
class Measure:
    """A number for each sample: `better` is 1 where more of it is, -1 where less is, 0 where neither."""

    benchmark: str
    metric: str
    better: int
    read: Callable[[Measured], tuple[pa.Table, list[Any]]]

    def cells(self, models: Sequence[Measured], tasks: Sequence[str]) -> np.ndarray:
        """Whole numbers, seeds by tasks by samples, in the order of `tasks`."""
        return np.stack([_arranged(*self.read(model), tasks) for model in models])


def results(benchmark: str, models: Sequence[Measured]) -> list[dict[str, Any]]:
    """Rows {benchmark, metric, value, low, high, count, of, tasks} of one model, or of its training seeds pooled.

    `count` of `of` verdicts are true; null where the value is no share of them. The rows of a benchmark that is graded on more
    inputs come under its name, and its pass@1 on the original inputs under the shorter name.
    """
    tasks, rows = _tasks(models), []
    for measure in _passing(benchmark, models):
        x_STN = measure.cells(models, tasks)
        rows += [_share(measure, x_STN), *_pass_at_more(measure.benchmark, x_STN)]
    rows += [_nll_row(*text) for text in _texts(benchmark, models)]
    for measure in _signs(benchmark, models):
        x_STN = measure.cells(models, tasks)
        found = (
            _share(measure, x_STN)
            if measure.better
            else _row(measure.benchmark, measure.metric, statistics.mean(x_STN.mean(2)), len(tasks))
        )
        rows.append(found)
    return rows


def comparison(benchmark: str, ours: Sequence[Measured], theirs: Sequence[Measured]) -> list[dict[str, Any]]:
    """Rows {benchmark, metric, value, low, high, p, won, lost, tied, tasks}: `ours` less `theirs`, task by task.

    `won` tasks are those on which we are better. Shares: Newcombe's interval and the exact sign-flip p (McNemar's, with one sample
    of one model each). The p asks whether these models differ; the interval also covers other training seeds, where
    there are several. The rest: Student's, paired.
    """
    both = [*ours, *theirs]
    tasks = _tasks(both)
    return [*(_compared(measure, ours, theirs, tasks) for measure in _passing(benchmark, both)),
            *(_nll_difference(*text, len(ours)) for text in _texts(benchmark, both)),
            *(_compared(measure, ours, theirs, tasks) for measure in _signs(benchmark, both))]  # fmt: skip


def won_and_lost(benchmark: str, ours: Sequence[Measured], theirs: Sequence[Measured]) -> tuple[list[str], list[str]]:
    """The tasks that `ours` passes more often than `theirs`, and less often."""
    tasks = _tasks([*ours, *theirs])
    passing = _passing(benchmark, ours)[0]
    less = _whole(passing.cells(ours, tasks), passing.cells(theirs, tasks))
    return [t for t, d in zip(tasks, less, strict=True) if d > 0], [
        t for t, d in zip(tasks, less, strict=True) if d < 0
    ]


def _passing(benchmark: str, models: Sequence[Measured]) -> list[Measure]:
    if not models[0].verdicts.num_rows:
        return []
    if not benchmark.endswith(PLUS):
        return [Measure(benchmark, "pass@1", 1, _passed)]
    return [Measure(benchmark, "pass@1", 1, _passed_plus), Measure(benchmark.removesuffix(PLUS), "pass@1", 1, _passed)]


def _signs(benchmark: str, models: Sequence[Measured]) -> list[Measure]:
    """What moves before pass@1; syntax only where every solution was compiled."""
    if not models[0].verdicts.num_rows:
        return []
    compiled = not any(model.verdicts["compiles"].null_count for model in models)
    return [
        *([Measure(benchmark, "syntax_error", -1, _no_python)] if compiled else []),
        Measure(benchmark, "timeout", -1, _timed_out),
        Measure(benchmark, "capped", -1, lambda model: _column(model.solutions, "capped")),
        Measure(benchmark, "reply_tokens", 0, lambda model: _column(model.solutions, "tokens")),
    ]


def _share(measure: Measure, x_STN: np.ndarray) -> dict[str, Any]:
    found = statistics.share(x_STN.mean(2), x_STN.size)
    return {
        **_row(measure.benchmark, measure.metric, found, x_STN.shape[1]),
        "count": int(x_STN.sum()),
        "of": x_STN.size,
    }


def _compared(
    measure: Measure, ours: Sequence[Measured], theirs: Sequence[Measured], tasks: list[str]
) -> dict[str, Any]:
    a_STN, b_STN = measure.cells(ours, tasks), measure.cells(theirs, tasks)
    a_ST, b_ST, less_T = a_STN.mean(2), b_STN.mean(2), _whole(a_STN, b_STN)
    if measure.better:
        found = statistics.share_difference(a_ST, b_ST, max(a_STN.size, b_STN.size))
        p = statistics.sign_flip(less_T)
    else:
        found, p = statistics.difference(a_ST, b_ST)
    return {**_row(measure.benchmark, measure.metric, found, len(tasks)), "p": p, **_score(measure.better, less_T)}


def _column(table: pa.Table, name: str) -> tuple[pa.Table, list[Any]]:
    return table, table[name].to_pylist()


def _passed(model: Measured) -> tuple[pa.Table, list[Any]]:
    return _column(model.verdicts, "base_passed")


def _passed_plus(model: Measured) -> tuple[pa.Table, list[Any]]:
    """Base and plus: EvalPlus's definition. A null plus counts only where the base inputs already failed."""
    both = zip(model.verdicts["base_passed"].to_pylist(), model.verdicts["plus_passed"].to_pylist(), strict=True)
    return model.verdicts, [base and plus for base, plus in both]


def _no_python(model: Measured) -> tuple[pa.Table, list[Any]]:
    return model.verdicts, [not compiles for compiles in model.verdicts["compiles"].to_pylist()]


def _timed_out(model: Measured) -> tuple[pa.Table, list[Any]]:
    return model.verdicts, [status == "timeout" for status in model.verdicts["status"].to_pylist()]


def _arranged(table: pa.Table, values: list[Any], tasks: Sequence[str]) -> np.ndarray:
    """`values`, of the table's rows, tasks by samples. ValueError for a null, and unless all tasks have as many samples."""
    held: dict[str, list[int]] = {}
    for task, value in zip(table["task_id"].to_pylist(), values, strict=True):
        if value is None:
            raise ValueError(f"a table has no value for {task}: it was made for another benchmark")
        held.setdefault(task, []).append(int(value))
    if set(held) != set(tasks) or len({len(some) for some in held.values()}) != 1:
        raise ValueError(f"every model needs the same number of samples of each of the same {len(tasks)} tasks")
    return np.array([held[task] for task in tasks])


def _tasks(models: Sequence[Measured]) -> list[str]:
    """In the order of the first. ValueError, naming some, if another has others."""
    first = list(dict.fromkeys(models[0].verdicts["task_id"].to_pylist()))
    for model in models[1:]:
        if other := set(first) ^ set(model.verdicts["task_id"].to_pylist()):
            raise ValueError(f"not the same tasks were evaluated: only one has {', '.join(sorted(other)[:5])}")
    return first


def _whole(a_STN: np.ndarray, b_STN: np.ndarray) -> np.ndarray:
    """The difference of each task's means, in the unit that makes all of them whole numbers."""
    a_T, b_T = a_STN.sum((0, 2)), b_STN.sum((0, 2))
    a, b = a_STN.size // len(a_T), b_STN.size // len(b_T)
    unit = math.lcm(a, b)
    return a_T * (unit // a) - b_T * (unit // b)


def _pass_at_more(benchmark: str, x_STN: np.ndarray) -> list[dict[str, Any]]:
    samples, rows = x_STN.shape[2], []
    for k in (k for k in _KS if k <= samples):
        chances = np.array([statistics.pass_at_k(samples, passed, k) for passed in range(samples + 1)])
        x_ST = chances[x_STN.sum(2)]
        found = statistics.share(x_ST, x_ST.size * (samples // k))
        rows.append(_row(benchmark, f"pass@{k}", found, x_ST.shape[1]))
    return rows


def _texts(benchmark: str, models: Sequence[Measured]) -> list[tuple[str, str, list[pa.Table]]]:
    """What the models read, right answers all: (benchmark, metric, each model's LIKELIHOOD)."""
    texts = [(benchmark, "canonical_nll", [model.likelihood for model in models])]
    if (held_out := [model.held_out for model in models if model.held_out is not None]) and len(held_out) == len(
        models
    ):
        texts.append((HELD_OUT, "answer_nll", held_out))
    return texts


def _nll_row(benchmark: str, metric: str, read: Sequence[pa.Table]) -> dict[str, Any]:
    """Nats per token over all tokens; texts that did not fit the window are not scored."""
    sums_ST, tokens_T = _nll(read)
    found = statistics.mean(statistics.per_token(sums_ST, tokens_T)) if len(tokens_T) else None
    return _row(benchmark, metric, found, len(tokens_T))


def _nll_difference(benchmark: str, metric: str, read: Sequence[pa.Table], ours: int) -> dict[str, Any]:
    """As `_nll_row`, the first `ours` models less the others. Null where two tokenizers cut differently: their nats per token
    have no common unit."""
    sums_ST, tokens_T = _nll(read)
    if not len(tokens_T):
        return {**_row(benchmark, metric, None, 0), "p": None, **_score(0, tokens_T)}
    found, p = nll_difference(sums_ST[:ours], sums_ST[ours:], tokens_T)
    return {**_row(benchmark, metric, found, len(tokens_T)), "p": p,
            **_score(-1, sums_ST[:ours].mean(0) - sums_ST[ours:].mean(0))}  # fmt: skip


def nll_difference(a_ST: np.ndarray, b_ST: np.ndarray, tokens_T: np.ndarray) -> tuple[Estimate, float | None]:
    """Of summed NLL on the same texts: the difference in nats per token, paired, and its two-sided p."""
    return statistics.difference(statistics.per_token(a_ST, tokens_T), statistics.per_token(b_ST, tokens_T))


def _nll(read: Sequence[pa.Table]) -> tuple[np.ndarray, np.ndarray]:
    """(summed NLL of every model, tokens) of the texts that all have scored; none where tokens differ."""
    held = [{row["id"]: (row["nll_sum"], row["tokens"]) for row in table.to_pylist()} for table in read]
    scored = [task for task in held[0] if all(task in one and one[task][0] is not None for one in held)]
    sums_ST, tokens_ST = (
        np.array([[one[task] for task in scored] for one in held]).reshape(len(held), -1, 2).transpose(2, 0, 1)
    )
    if (tokens_ST != tokens_ST[0]).any():
        return sums_ST[:, :0], tokens_ST[0, :0]
    return sums_ST, tokens_ST[0]


def _score(better: int, less_T: np.ndarray) -> dict[str, int | None]:
    """Tasks won, lost and tied; null where more is not better and not worse."""
    if not better:
        return {"won": None, "lost": None, "tied": None}
    signs_T = better * np.sign(less_T)
    return {"won": int((signs_T > 0).sum()), "lost": int((signs_T < 0).sum()), "tied": int((signs_T == 0).sum())}


def _row(benchmark: str, metric: str, found: Estimate | None, tasks: int) -> dict[str, Any]:
    value, low, high = found or (None, None, None)
    return {"benchmark": benchmark, "metric": metric, "value": value, "low": low, "high": high,
            "tasks": tasks}  # fmt: skip
