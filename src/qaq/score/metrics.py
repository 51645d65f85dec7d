"""LIKELIHOOD -> METRICS: arithmetic on sums and counts (QAQ, section 3; IFD as in Cherry, a ratio of losses)."""

import pyarrow as pa
import pyarrow.compute as pc

from qaq.tables import METRICS, conform

_NAMES = {"log_ppl_q": ("query", "nothing"), "log_ppl_q_given_a": ("query", "answer"),
          "log_ppl_a": ("answer", "nothing"), "log_ppl_a_given_q": ("answer", "query")}  # fmt: skip


def metrics(strong: pa.Table, weak: pa.Table | None = None) -> pa.Table:
    """METRICS of every id whose texts all fitted the window of every model, sorted by id.

    log PPL is nll_sum / tokens (nats per token). A likelihood that was not asked for leaves its columns null.
    """
    sides = {"": strong} if weak is None else {"": strong, "weak_": weak}
    ids = pc.unique(strong["id"]).sort()
    for likelihood in sides.values():
        over = likelihood["id"].filter(likelihood["truncated"])
        ids = ids.filter(pc.and_not(pc.is_in(ids, likelihood["id"]), pc.is_in(ids, over)))
    columns = {"id": ids}
    for prefix, likelihood in sides.items():
        columns |= {prefix + name: values for name, values in _measures(likelihood, ids).items()}
    return conform(columns, METRICS)


def too_long(likelihood: pa.Table) -> list[tuple[str, int]]:
    """(id, tokens of the longest target) of pairs with a text longer than the window, sorted by id."""
    over = likelihood.filter(likelihood["truncated"])
    longest = over.group_by("id").aggregate([("tokens", "max")])
    return sorted(zip(longest["id"].to_pylist(), longest["tokens_max"].to_pylist(), strict=True))


def _measures(likelihood: pa.Table, ids: pa.Array) -> dict[str, pa.Array]:
    """One model's columns, aligned with `ids`."""
    held = {name: _log_ppl(likelihood, *text, ids) for name, text in _NAMES.items()}
    rmi = pc.subtract(held["log_ppl_q"], held["log_ppl_q_given_a"])
    return {**held, "rmi": rmi, "ifd": pc.divide(held["log_ppl_a_given_q"], held["log_ppl_a"])}


def _log_ppl(likelihood: pa.Table, target: str, given: str, ids: pa.Array) -> pa.Array:
    """Nats per token of `target` given `given`, aligned with `ids`; null where there is none."""
    chosen = likelihood.filter((pc.field("target") == target) & (pc.field("given") == given))
    ratio = pc.divide(chosen["nll_sum"], pc.cast(chosen["tokens"], pa.float64()))
    return ratio.take(pc.index_in(ids, chosen["id"]))
