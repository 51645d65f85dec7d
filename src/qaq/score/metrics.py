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
    table = _side(strong, "")
    if weak is not None:
        table = table.join(_side(weak, "weak_"), keys="id", join_type="inner")
    return conform(table.sort_by("id"), METRICS)


def too_long(likelihood: pa.Table) -> list[tuple[str, int]]:
    """(id, tokens of the longest target) of pairs with a text longer than the window, sorted by id."""
    over = likelihood.filter(likelihood["truncated"])
    longest = over.group_by("id").aggregate([("tokens", "max")])
    return sorted(zip(longest["id"].to_pylist(), longest["tokens_max"].to_pylist(), strict=True))


def _side(likelihood: pa.Table, prefix: str) -> pa.Table:
    over = pc.unique(likelihood.filter(likelihood["truncated"])["id"])
    scored = likelihood.filter(pc.invert(pc.is_in(likelihood["id"], value_set=over)))
    table = pa.table({"id": pc.unique(scored["id"]).sort()})
    for name, (target, given) in _NAMES.items():
        chosen = scored.filter((pc.field("target") == target) & (pc.field("given") == given))
        if chosen.num_rows:
            ratio = pc.divide(chosen["nll_sum"], pc.cast(chosen["tokens"], pa.float64()))
            table = table.join(pa.table({"id": chosen["id"], prefix + name: ratio}), keys="id")
    return _derived(table, prefix)


def _derived(table: pa.Table, prefix: str) -> pa.Table:
    held = set(table.column_names)
    if {f"{prefix}log_ppl_q", f"{prefix}log_ppl_q_given_a"} <= held:
        rmi = pc.subtract(table[f"{prefix}log_ppl_q"], table[f"{prefix}log_ppl_q_given_a"])
        table = table.append_column(f"{prefix}rmi", rmi)
    if {f"{prefix}log_ppl_a", f"{prefix}log_ppl_a_given_q"} <= held:
        ifd = pc.divide(table[f"{prefix}log_ppl_a_given_q"], table[f"{prefix}log_ppl_a"])
        table = table.append_column(f"{prefix}ifd", ifd)
    return table
