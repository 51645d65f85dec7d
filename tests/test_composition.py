"""What a selection is made of: counts of every facet, which add up to the pool and to the selection."""

import pyarrow as pa
import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from qaq import composition, config, refuse, tables
from qaq.job import Job
from qaq.store import Store
from qaq.tables import EXAMPLES, FACETS, METRICS, SUBSET

RULES = yaml.safe_load((ROOT / "conf/composition/defaults.yaml").read_text())
config.register()


def labels(rows):
    """FACETS of (source, words of the query and of the answer, language, topic)."""
    names = FACETS.columns.names[1:]
    return tables.conform([{"id": f"{k}", **dict(zip(names, row, strict=True))} for k, row in enumerate(rows)], FACETS)


def ids(numbers):
    return pa.chunked_array([pa.array([f"{k}" for k in numbers], pa.string())])


_rows = st.lists(
    st.tuples(st.sampled_from(["a", "b", None]), st.integers(1, 70), st.integers(0, 5000), st.sampled_from(["Python", "C"]), st.just("web")),
    min_size=1, max_size=30)  # fmt: skip


@given(_rows, st.randoms())
def test_in_every_facet_the_counts_add_up_to_the_pool_and_to_the_selection(rows, draw):
    pool = draw.sample(range(len(rows)), draw.randint(1, len(rows)))
    chosen = draw.sample(pool, draw.randint(0, len(pool)))
    found = composition.composition(labels(rows), ids(pool), ids(chosen)).to_pylist()
    for facet in ("source", "query words", "answer words", "language", "topic"):
        own = [row for row in found if row["facet"] == facet]
        assert sum(row["pool"] for row in own) == len(pool)
        assert sum(row["selected"] for row in own) == len(chosen)
        assert all(0 <= row["selected"] <= row["pool"] > 0 for row in own)


def test_counts_are_those_one_would_make_by_hand():
    rows = [
        ("a", 1, 8, "Python", "web"),
        ("a", 3, 15, "C", "web"),
        (None, 4, 16, "Python", "web"),
        ("b", 7, 0, "C", "web"),
    ]
    found = composition.composition(labels(rows), ids([0, 1, 2, 3]), ids([2, 0])).to_pylist()
    told = {(row["facet"], row["value"]): (row["pool"], row["selected"]) for row in found}
    assert told["source", "a"] == (2, 1)
    assert told["source", "not told"] == (1, 1)
    assert told["language", "Python"] == (2, 2)
    assert [row["value"] for row in found if row["facet"] == "query words"] == ["1", "2-3", "4-7"]
    assert told["query words", "4-7"] == (2, 1)
    assert [row["value"] for row in found if row["facet"] == "answer words"] == ["1", "8-15", "16-31"]
    assert told["answer words", "8-15"] == (2, 1)


def test_a_pair_without_labels_is_named():
    with pytest.raises(KeyError, match="FACETS has no row 7"):
        composition.composition(labels([("a", 1, 1, "C", "web")]), ids([0, 7]), ids([0]))


def test_pairs_are_labelled_once_for_each_data_set_and_each_set_of_rules(tmp_path):
    rows = [
        {"id": f"{k}", "row": k, "query": f"Sort list {k}", "answer": "x = 1", "source": "mine", "record": "{}"}
        for k in range(4)
    ]
    tables.write(tables.conform(rows, EXAMPLES), tmp_path / "examples.parquet")
    metrics = tables.conform({"id": [f"{k}" for k in range(3)]}, METRICS)
    subset = tables.conform({"rank": [0], "id": ["2"]}, SUBSET)

    def of(**rules):
        cfg = {"composition": {**RULES, **rules}}
        result = {"keys": {"load": "l1"}, "seconds": {}, "reused": {}}
        job = Job(cfg, tmp_path, Store(tmp_path / "store"), tracker=None, result=result)
        found = composition.labels(job, tmp_path / "examples.parquet")
        return composition.composition(found, metrics["id"], subset["id"]), job.result["reused"]["facets"]

    first, reused = of()
    assert not reused
    assert {row["facet"]: (row["value"], row["pool"], row["selected"]) for row in first.to_pylist()} == {
        "source": ("mine", 3, 1), "query words": ("2-3", 3, 1), "answer words": ("2-3", 3, 1), "language": ("Python", 3, 1),
        "topic": ("lists, sorting", 3, 1)}  # fmt: skip
    assert of() == (first, True)
    assert of(topics=[])[1] is False
    assert of(topics=[])[0].to_pylist()[-1]["value"] == "other"


@pytest.mark.parametrize(("changed", "message"), [
    ({"values": 0}, "composition.values=0: give a whole number of at least 1"),
    ({"values": None}, "composition.values=None: give a whole number"),
    ({"source": 123}, "composition.source=123: give the name of a field, or null"),
    ({"source_fields": "source"}, "composition.source_fields='source': give a list of texts"),
    ({"topics": [{"name": "a", "certain": "regex", "words": []}]}, r"topics \(a\) certain='regex': give a list"),
    ({"topics": [{"name": "a"}]}, r"topics name, certain and words \(KeyError\('certain'\)\)"),
    ({"languages": [{"name": "a", "tags": [], "pattern": "["}]}, "no regular expression"),
])  # fmt: skip
def test_rules_that_cannot_be_used_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        composition.check({**RULES, **changed})


def test_no_job_starts_with_such_rules():
    with pytest.raises(ValueError, match="composition.longest=0"):
        refuse.check(["composition.longest=0"], False)
    with pytest.raises(ValueError, match="did you mean 'composition.source'"):
        refuse.check(["composition.sorce=kind"], False)
