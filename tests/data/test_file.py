"""A user's own file: formats, quarantine, counts, streaming."""

import gzip
import io
import itertools
import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from loading import load, settings

from qaq import data
from qaq.data import jsonl
from qaq.tables import pair_id

GOOD = [{"instruction": f"write {i}", "output": f"print({i})", "tags": ["é", None, 1.5, {"deep": [i]}]}
        for i in range(4)]  # fmt: skip
LINES = [json.dumps(record, ensure_ascii=False).encode() for record in GOOD]

TEN_WAYS = [
    (b'{"instruction": "x", "output":', "not JSON"),
    (b'{"instruction": "cut off in a st', "not JSON"),
    (b'{"instruction": "x", "output": NaN}', "not JSON: NaN"),
    (b'{"instruction": "x"}', "missing field: output"),
    (b'{"instruction": "x", "output": 5}', "wrong type: output"),
    (b'{"instruction": "  ", "output": "y"}', "empty query"),
    (b'{"instruction": "x", "output": ""}', "empty answer"),
    (b'{"instruction": "\xff\xfe", "output": "y"}', "not UTF-8"),
    (b'{"instruction": "\\ud800", "output": "y"}', "not UTF-8"),
    (LINES[0], "duplicate of row 0"),
]
WORSE = [
    (b'["a", "list"]', "wrong type: the record is a list"),
    (b"null", "wrong type: the record is null"),
    (b'"text"', "wrong type: the record is text"),
    (b"nonsense", "not JSON"),
    (b'{"instruction": "x", "output": "y", "n": ' + b"9" * 5000 + b"}", "not JSON: a whole number"),
    (b'{"instruction": "x", "output": "y", "n": 1e999}', "not JSON: the number"),
    (b'{"instruction": "x", "output": "y", "n": -Infinity}', "not JSON: -Infinity"),
    (b'{"instruction": ' + b"[" * 100_000, "not JSON: nested too deep"),
    (b'{"instruction": "x", "output": "y"} and more', "not JSON"),
    (b'{"instruction": "a tab\there", "output": "y"}', "not JSON"),
]


def shown(line, reason):
    """What quarantine shows for a refused line: its value, or its text where it has none."""
    has_no_value = reason.startswith("not JSON") or b"\xff" in line
    return line.decode("utf-8", "backslashreplace") if has_no_value else json.loads(line)


@pytest.mark.parametrize("way", range(len(TEN_WAYS + WORSE)))
def test_each_defect_has_its_reason_and_leaves_its_neighbours_alone(tmp_path, way):
    line, reason = (TEN_WAYS + WORSE)[way]
    path = tmp_path / "file"
    path.write_bytes(b"\n".join([LINES[0], line, LINES[1]]))
    _, kept, quarantine = load(tmp_path / "out", path=str(path))
    assert [json.loads(row["record"]) for row in kept] == GOOD[:2]
    assert [row["row"] for row in quarantine] == [1]
    assert quarantine[0]["reason"].startswith(reason)
    assert quarantine[0]["record"] == shown(line, reason)


def test_a_file_broken_in_ten_ways_is_quarantined_exactly_there_and_kept_records_hold_every_field(tmp_path):
    path = tmp_path / "file"
    broken = [line for line, _ in TEN_WAYS]
    path.write_bytes(b"\n".join([LINES[0], *broken[:5], LINES[1], LINES[2], *broken[5:], LINES[3], b""]))
    counts, kept, quarantine = load(tmp_path / "out", path=str(path))
    assert [row["row"] for row in kept] == [0, 6, 7, 13]
    assert [row["record"].encode() for row in kept] == LINES
    assert [row["row"] for row in quarantine] == [1, 2, 3, 4, 5, 8, 9, 10, 11, 12]
    assert all(row["reason"].startswith(reason) for row, (_, reason) in zip(quarantine, TEN_WAYS, strict=True))
    assert counts["by_reason"] == {"not JSON": 3, "not UTF-8": 2, "missing field": 1, "wrong type": 1, "empty query": 1,
                                   "empty answer": 1, "duplicate": 1}  # fmt: skip
    assert counts["shape"] == {"instruction/output": 4}


def test_a_kept_row_has_its_pair_its_id_its_source_and_no_noise_label(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(LINES[0])
    _, [row], _ = load(tmp_path / "out", path=str(path), name="mine")
    assert row == {"id": pair_id("write 0", "print(0)"), "row": 0, "query": "write 0", "answer": "print(0)",
                   "source": "mine", "noise": None, "record": LINES[0].decode()}  # fmt: skip


# Elements that may stand anywhere, in lines as in an array.
_texts = st.text(max_size=8).filter(lambda text: text.isprintable() and text.isascii())
_good = st.builds(
    lambda i, text: json.dumps({"instruction": f"q{i} {text}", "output": text + "}, {"}).encode(),
    st.integers(0, 99),
    _texts,
)
_bad = st.sampled_from([line for line, _ in TEN_WAYS[:1] + TEN_WAYS[2:8] + WORSE[:7]] + [b"{}", b"[]", b"7"])
_elements = st.lists(st.tuples(st.booleans(), _good, _bad), min_size=1, max_size=12).map(
    lambda drawn: [good if is_good else bad for is_good, good, bad in drawn]
)


def written(elements, layout, zipped):
    if layout == "array":
        elements = [e for i, e in enumerate(elements) if not _is_swallowed(elements, i)]
        content = b"[\n  " + b",\n  ".join(elements) + b"\n]\n"
    else:
        content = b"\n\n".join(elements)
    return elements, gzip.compress(content) if zipped else content


def _is_swallowed(elements, i):
    """In an array an object that is not JSON is told from what follows only where that opens like a record."""
    opens = [element.startswith(b'{"instruction"') for element in elements[: i + 1]]
    last_object = max(j for j in range(i + 1) if opens[j] and j < max(i, 1))
    reason = dict(TEN_WAYS + WORSE).get(elements[last_object], "")
    return not opens[i] and reason.startswith("not JSON")


@given(_elements, st.sampled_from(["array", "lines"]), st.booleans(), st.integers(1, 200))
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counts_add_up_for_any_mixture_in_any_layout_and_any_size_of_window(tmp_path_factory, monkeypatch, elements,
                                                                            layout, zipped, chunk):  # fmt: skip
    folder = tmp_path_factory.mktemp("mixture")
    elements, content = written([LINES[0], *elements], layout, zipped)
    monkeypatch.setattr(jsonl, "_CHUNK", max(chunk, 4))
    (folder / "file").write_bytes(content)
    counts, kept, _ = load(folder / "out", path=str(folder / "file"))
    assert counts["rows"] == len(elements)
    usable = list(dict.fromkeys(e for e in elements if e == LINES[0] or b"}, {" in e))
    assert [json.loads(row["record"]) for row in kept] == [json.loads(e) for e in usable]


@pytest.mark.parametrize("broken", [0, 1, 2])
@pytest.mark.parametrize(
    "defect",
    [
        lambda text: text.replace('": "write', '" "write'),
        lambda text: text.replace('{"instruction": "', '{"instruction": '),
        lambda text: text[:-1],
        lambda text: text[:20],
        lambda text: text + "}",
        lambda text: "nonsense",
    ],
)
def test_one_broken_element_of_a_printed_array_costs_one_record(tmp_path, broken, defect):
    texts = [json.dumps(record, indent=2) for record in GOOD[:3]]
    texts[broken] = defect(json.dumps(GOOD[broken]))
    path = tmp_path / "file"
    path.write_text("[\n" + ",\n".join(texts) + "\n]")
    _, kept, quarantine = load(tmp_path / "out", path=str(path))
    assert [row["row"] for row in quarantine] == [broken]
    assert quarantine[0]["record"] == texts[broken]
    assert [json.loads(row["record"]) for row in kept] == [GOOD[i] for i in range(3) if i != broken]
    assert not any("\n" in row["record"] for row in kept)


def test_an_array_that_was_cut_off_keeps_its_whole_elements(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"[" + b", ".join(LINES)[:-5])
    _, kept, quarantine = load(tmp_path / "out", path=str(path))
    assert len(kept) == 3
    assert [row["row"] for row in quarantine] == [3]


def test_text_after_an_array_is_a_refused_record(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"[" + LINES[0] + b"] trailing")
    _, _, [row] = load(tmp_path / "out", path=str(path))
    assert (row["reason"], row["record"]) == ("not JSON: text after the end of the array", "trailing")


def test_commas_too_many_or_missing_between_objects_cost_nothing(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"[" + LINES[0] + b" " + LINES[1] + b",," + LINES[2] + b",]")
    counts, _, _ = load(tmp_path / "out", path=str(path))
    assert (counts["rows"], counts["kept"]) == (3, 3)


@pytest.mark.parametrize("layout", ["array", "lines"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_byte_order_mark_and_blank_lines_are_not_records(tmp_path, layout, zipped):
    body = b"[" + b",\n".join(LINES) + b"]" if layout == "array" else b"\r\n \n".join(LINES)
    content = b"\xef\xbb\xbf\n" + body + b"\n\n"
    path = tmp_path / "file.txt"
    path.write_bytes(gzip.compress(content) if zipped else content)
    counts, _, _ = load(tmp_path / "out", path=str(path))
    assert (counts["rows"], counts["kept"]) == (4, 4)


@pytest.mark.parametrize(
    ("head", "array"),
    [(b'[{"a": 1}]', True), (b'[\n{"a": 1},\n{"a": 2}]', True), (b'[{"a": 1},\n{"a": 2}]', True),
     (b'[{"a": 1}\n,{"a": 2}]', True), (b'["a"]\n{"a": 1}', False), (b'{"a": [1]}', False), (b"", False)],
)  # fmt: skip
def test_an_array_is_told_from_lines_that_begin_with_a_list(head, array):
    assert jsonl.is_array(head) == array


def test_the_limit_counts_records_before_cleaning(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\n".join([LINES[0], b"nonsense", LINES[1], LINES[2]]))
    counts, kept, _ = load(tmp_path / "out", path=str(path), limit=3)
    assert (counts["rows"], [row["row"] for row in kept]) == (3, [0, 2])


@pytest.mark.parametrize("rows", [1, 7, 4096, 9000])
def test_row_groups_do_not_show(tmp_path, rows):
    path = tmp_path / "file"
    path.write_text("".join(json.dumps({"query": f"q{i}", "answer": "a"}) + "\n" for i in range(rows)))
    _, kept, _ = load(tmp_path / "out", path=str(path))
    assert [row["query"] for row in kept] == [f"q{i}" for i in range(rows)]


def test_lines_are_read_only_as_they_are_asked_for():
    endless = io.BufferedReader(_Endless())
    first = list(itertools.islice(jsonl.lines(b'{"n": 0}\n', endless), 5))
    assert [record.value["n"] for record in first] == [0, 1, 1, 1, 1]


class _Endless(io.RawIOBase):
    def readable(self):
        return True

    def readinto(self, buffer):
        line = b'{"n": 1}\n'
        buffer[: len(line)] = line
        return len(line)


def test_an_array_is_decoded_only_as_far_as_it_is_asked_for():
    chunks = itertools.chain([b"["], itertools.repeat(b'{"n": 1}, '))
    elements = jsonl._Array(chunks).records()
    assert [next(elements).value for _ in range(100)] == [{"n": 1}] * 100


def test_parquet_is_known_by_its_content_and_null_fields_count_as_absent(tmp_path):
    records = [{"instruction": "q", "output": "a", "messages": None, "score": float("nan"), "raw": b"\x00"},
               {"instruction": "q", "output": None, "messages": [{"role": "user", "content": "m"}], "score": 1.0,
                "raw": None}]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "file.json")
    _, [kept], [refused] = load(tmp_path / "out", path=str(tmp_path / "file.json"))
    assert json.loads(kept["record"]) == {**records[0], "score": None, "raw": "AA=="}
    assert refused == {"row": 1, "reason": "missing field: messages has no assistant turn", "record": records[1]}


def test_parquet_text_that_is_not_utf8_costs_its_own_row_only(tmp_path):
    unchecked = pc.CastOptions.unsafe(pa.string())
    query = pa.array([b"q", b"\xff", b"r"]).cast(options=unchecked)
    pq.write_table(pa.table({"query": query, "answer": ["a", "a", "a"]}), tmp_path / "file")
    _, kept, [refused] = load(tmp_path / "out", path=str(tmp_path / "file"))
    assert [row["row"] for row in kept] == [0, 2]
    assert (refused["row"], refused["reason"].split(":")[0]) == (1, "not UTF-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no record"),
        (b"[]", "holds no record"),
        (
            b'{"prompt_text": "q", "reply": "a"}',
            r"fields \['prompt_text', 'reply'\].*data.query=FIELD data.answer=FIELD",
        ),
        (b"a,b\n1,2\n", "'not JSON': 2.*a JSON array of objects, an object on each line, or Parquet"),
        (gzip.compress(b"\n".join(LINES))[:-12], "damaged gzip"),
    ],
)
def test_a_file_with_nothing_usable_names_itself_and_the_way_out(tmp_path, content, said):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=said) as caught:
        load(tmp_path / "out", path=str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"path": "no/such/file"}, "no/such/file: there is no such file"),
        ({"path": "."}, "is a directory.*data=hub"),
        ({"path": "a", "id": "b"}, "both set"),
        ({"name": "stdlb"}, "'stdlb' has no source"),
    ],
)
def test_a_source_that_is_not_there_is_refused_before_any_work(tmp_path, changed, said):
    for refused in (lambda: data.load(settings(**changed), tmp_path), lambda: data.identity(settings(**changed))):
        with pytest.raises(ValueError, match=said):
            refused()
    assert not list(tmp_path.iterdir())
