"""Docstring -> function pairs from the standard library."""

import ast
import itertools
import sysconfig
from pathlib import Path

import pytest
from loading import load, settings

from qaq.data import stdlib


@pytest.fixture(scope="module")
def records():
    return stdlib.mine()


def test_thousands_of_pairs_exist_and_no_two_are_the_same(records):
    assert len(records) > 2000
    assert len({(record["instruction"], record["output"]) for record in records}) == len(records)


def test_every_answer_is_one_function_without_its_docstring(records):
    for record in records:
        [function] = stdlib._parse(record["output"]).body
        assert isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        assert function.name == record["name"].rsplit(".", 1)[1]
        assert ast.get_docstring(function) is None


def test_every_query_names_the_function_and_holds_its_signature_and_docstring(records):
    record = next(record for record in records if record["name"] == "shlex.quote")
    assert record["module"] == "shlex"
    assert record["instruction"].startswith("Write the Python function `shlex.quote(s)`.\n\nReturn a shell-escaped")
    assert record["output"].startswith("def quote(s):\n    if not s:\n")
    assert all(f"`{record['name']}(" in record["instruction"] for record in records)


def test_answers_are_the_source_itself(records):
    import shlex

    record = next(record for record in records if record["name"] == "shlex.quote")
    source = ast.parse(Path(shlex.__file__).read_text())
    original = next(node for node in source.body if getattr(node, "name", "") == "quote")
    original.body = original.body[1:]
    assert ast.unparse(ast.parse(record["output"])) == ast.unparse(original)


def test_tests_and_teaching_material_are_left_out(records):
    parts = {part for record in records for part in record["module"].split(".")}
    assert not parts & {"test", "tests", "idlelib", "lib2to3", "turtledemo", "site-packages"}


def test_two_minings_give_the_same_records_in_the_same_order(records):
    root = Path(sysconfig.get_path("stdlib"))
    paths = stdlib.modules(root)[:60]
    again = [record for path in paths for record in stdlib._of_module(path, path.stem)]
    assert [record["output"] for record in again] == [record["output"] for record in records[: len(again)]]
    names = [record["module"] for record in records]
    assert len(list(itertools.groupby(names))) == len(set(names))


@pytest.mark.parametrize("seed", [0, 1])
def test_the_limit_takes_the_first_of_the_order_shuffled_by_seed(seed):
    order = [record.text for record in stdlib.source(settings(seed=seed)).records]
    assert order == [record.text for record in stdlib.source(settings(seed=seed)).records]
    assert sorted(order) == sorted(record.text for record in stdlib.source(settings(seed=seed + 1)).records)
    assert order != [record.text for record in stdlib.source(settings(seed=seed + 1)).records]


def test_a_load_keeps_every_pair_it_takes(tmp_path):
    counts, kept, quarantine = load(tmp_path / "out", name="stdlib", limit=50)
    assert (counts["rows"], counts["kept"], quarantine) == (50, 50, [])
    assert {row["source"] for row in kept} == {"stdlib"}


SOURCE = '''
def kept(a):
    """A docstring that has enough words."""
    # a comment stays
    b = a
    return b


class Thing:
    @property
    def kept_too(self):

        """A docstring that has enough words."""

        if self:
            return """
text at the margin"""

    def one_statement(self):
        """A docstring that has enough words."""
        raise NotImplementedError

    def terse(self):
        """Too few words."""
        a = 1
        return a

    def on_one_line(self): "A docstring that has enough words."; a = 1; return a
'''


def test_what_is_mined_and_what_is_not(tmp_path):
    path = tmp_path / "made.py"
    path.write_text(SOURCE.replace("\ntext at", " text at"))
    kept, too = stdlib._of_module(path, "made")
    assert kept["output"] == "def kept(a):\n    # a comment stays\n    b = a\n    return b\n"
    assert too["name"] == "made.Thing.kept_too"
    assert too["output"].startswith("@property\ndef kept_too(self):\n    if self:")


def test_a_method_whose_text_reaches_the_margin_cannot_be_cut_out(tmp_path):
    path = tmp_path / "made.py"
    path.write_text(SOURCE)
    assert [record["name"] for record in stdlib._of_module(path, "made")] == ["made.kept"]
