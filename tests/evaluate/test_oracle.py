"""Comparison by EvalPlus's rules, on values that came as bytes."""

import decimal
import fractions
import math
import tracemalloc
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest
from evalplus.eval import is_floats
from hypothesis import given
from hypothesis import strategies as st

from qaq.evaluate import oracle
from qaq.evaluate.benchmark import Task
from qaq.evaluate.oracle import Expected
from qaq.sandbox import Output, values

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()) | st.binary()
)
keys = st.integers() | st.text() | st.tuples(st.integers(), st.text())
plain = st.recursive(
    scalars | st.complex_numbers(allow_nan=False) | st.sets(keys) | st.frozensets(keys),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
    max_leaves=20,
)


def task(dataset: str = "humaneval", entry_point: str = "f", atol: float = 0.0) -> Task:
    return Task("T/0", "", entry_point, "", dataset, [], [], atol)


def output(value: object) -> Output:
    """As a child reports it."""
    return Output(values.name_of(value), values.encode(value))


def right(out: object, exp: object, given: list | None = None, floats: bool | None = None, **about) -> bool:
    floats = is_floats(exp) if floats is None else floats
    return oracle.right(task(**about), Expected(given or [], output(exp), floats, False, 0.0), output(out))


@given(plain)
def test_a_plain_value_comes_back_as_it_was(value):
    back = values.decode(values.encode(value))
    assert back == value
    assert type(back) is type(value)


@given(plain)
def test_equal_values_are_right_and_wrapped_ones_are_not(value):
    assert right(value, value)
    assert not right([value], value)


def test_what_subclasses_say_of_themselves_is_not_asked():
    def liar(base):
        lies = {name: lambda *_: True for name in ("__eq__", "__len__", "__iter__", "__bool__", "items", "keys")}
        return type("Liar", (base,), {**lies, "__hash__": lambda _: 0})

    honest = [7, 1.5, "s", b"b", [1, 2], (1, 2), {1: 2}, {1, 2}, frozenset([3]), 2j]
    for value in honest:
        lying = liar(type(value))(value)
        assert values.decode(values.encode(lying)) == value
        assert type(values.decode(values.encode(lying))) is type(value)
        assert right(lying, value)
        assert not right(liar(type(value))(), value)


def test_subclasses_of_the_library_are_their_contents():
    assert right(Counter("aab"), {"a": 2, "b": 1})
    assert right(OrderedDict(a=1), {"a": 1})
    assert right(defaultdict(list, a=[1]), {"a": [1]})
    assert right({1: 2}.keys(), {1})


def test_numbers_of_the_libraries_compare_as_numbers():
    assert right(np.float64(0.5), 0.5)
    assert right([np.int64(3), np.bool_(True)], [3, True])
    assert right(fractions.Fraction(1, 2), 0.5)
    assert right(decimal.Decimal("0.5"), 0.5)
    assert right(True, 1)
    assert right(1, 1.0)
    assert right(np.array([5]), 5)
    assert not right(np.array([1, 2]), [1, 2])  # EvalPlus: the truth of such a comparison is undefined
    assert not right(np.float64(0.5 + 1e-9), 0.5)  # nearly right, but of another type


def test_another_type_equals_nothing():
    for strange in (object(), iter([1]), lambda: 1, [object()], {1: object()}, type):
        assert not right(strange, [1])
        assert not right(strange, None)
    assert values.decode(values.encode(object())) != values.decode(values.encode(object()))


def test_a_sequence_of_another_type_is_wrong():
    assert not right((1, 2), [1, 2])
    assert not right([1.0, 2.0 + 1e-9], (1.0, 2.0))


def test_floats_have_a_tolerance_and_integers_do_not():
    assert right(1.0 + 5e-7, 1.0)
    assert right([1.0, 2.0 + 5e-7], [1.0, 2.0])
    assert not right(1.0 + 5e-6, 1.0)
    assert not right(10**9 + 1, 10**9)
    assert not right([1.0], [1.0, 1.0])
    assert not right([[1.0], [1.0]], [1.0, 1.0])  # numpy would repeat both to the shape [2, 2]
    assert right(1.00005, 1.0, atol=1e-4)
    assert right([1, 1.00005], [1, 1.0], atol=1e-4)
    assert not right("1.00005", "1.0", atol=1e-4)


def test_the_tolerance_of_floats_stays_for_the_rest_of_a_suite():
    assert right(10**9 + 1, 10**9, floats=True)  # EvalPlus: np.allclose with rtol = 1e-7 from there on
    assert not right(8, 7, floats=True)


def test_a_nan_is_right_only_where_the_canonical_solution_gives_it():
    assert right([math.nan], [math.nan])
    assert not right(math.nan, 1.0)


def test_a_root_is_judged_by_the_polynomial():
    about = {"entry_point": "find_zero", "given": [[-6.0, 11.0, -6.0, 1.0]]}  # (x - 1)(x - 2)(x - 3)
    for root in (1.0, 2.0, 3.0):
        assert right(root, 1.0, **about)
    assert not right(1.5, 1.0, **about)
    assert not right("1.0", 1.0, **about)
    assert not right(None, 1.0, **about)


@pytest.mark.parametrize(("entry_point", "out", "exp", "given", "verdict"), [
    ("are_equivalent", "anything", True, [1, 2], True),
    ("sum_div", 0, 7, [8], True),
    ("sum_div", 1, 7, [8], False),
    ("surface_Area", 33, 34, [3, 4], False),
    ("surface_Area", 35, 0, [3, 4], True),  # 9 + 2 * 3 * sqrt(1.5^2 + 4^2) = 34.6
    ("digit_distance_nums", 6, 0, [1, 7], True),
    ("digit_distance_nums", 5, 0, [1, 7], False),
    ("similar_elements", (5, 4), (4, 5), [], True),
    ("similar_elements", [4, 5, 5], (4, 5), [], True),
    ("similar_elements", (4, 6), (4, 5), [], False),
    ("check_str", object(), True, [], True),
    ("check_str", None, True, [], False),
    ("check_str", None, False, [], True),
    ("check_str", False, True, [], False),
])  # fmt: skip
def test_tasks_of_mbpp_with_several_right_answers(entry_point, out, exp, given, verdict):
    assert right(out, exp, given, dataset="mbpp", entry_point=entry_point) is verdict


def test_the_special_rules_of_a_data_set_are_not_those_of_the_other():
    assert not right("anything", True, entry_point="are_equivalent")


@given(st.binary(max_size=60))
def test_bytes_of_a_stranger_are_a_wrong_answer_and_nothing_worse(data):
    expected = Expected([], output([1, 2, 3]), False, False, 0.0)
    assert oracle.right(task(), expected, Output("list", data)) == (data == expected.output.data)


def test_endless_nesting_is_refused():
    for data in (b"\x91" * 100_000, b"\x81" * 100_000, b"\x81\xc7\0\1" * 100_000):
        with pytest.raises(ValueError):  # noqa: PT011 (MessagePack's says nothing)
            values.decode(data + b"\xc0")


def test_a_tuple_is_not_the_dictionary_it_travels_as():
    assert values.decode(values.encode({None: [1], (): [2]})) == {None: [1], (): [2]}
    assert values.decode(values.encode([(), ((1,),), {(): ()}])) == [(), ((1,),), {(): ()}]


def test_what_cannot_be_compared_is_truth_only_as_being_there():
    matched = output(object())
    about = task("mbpp", "check_str")
    assert values.decode(oracle.truth_of(about, matched).data) is True
    assert values.decode(oracle.truth_of(about, output(None)).data) is False
    assert oracle.truth_of(task(), matched) is matched


@pytest.mark.parametrize(
    "entry_point", ["are_equivalent", "check_str", "text_match_three", "sum_div", "similar_elements"]
)
def test_an_exception_is_never_an_answer(entry_point):
    about = task("mbpp", entry_point)
    expected = Expected([1, 2], oracle.truth_of(about, output("ValueError")), False, False, 0.0)
    raised = Output("", values.encode("ValueError"))
    assert oracle.right(about, expected, output("ValueError"))
    assert not oracle.right(about, expected, raised)


def test_texts_where_numbers_are_expected_cost_no_memory():
    texts = ["x" * 90_000, *"y" * 2999]
    expected = Expected([], output([1.5] * len(texts)), True, False, 0.0)
    tracemalloc.start()
    assert not oracle.right(task(), expected, output(texts))
    assert not oracle.right(task(), expected, output([[text] for text in texts]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 26


@given(plain)
def test_a_list_is_read_element_by_element_and_nothing_else_is(value):
    held = values.items(values.encode(value))
    if type(value) is not list:
        assert held is None
        return
    length, elements = held
    assert length == len(value)
    assert [*elements] == value


@given(st.lists(plain), st.lists(plain))
def test_two_lists_without_a_tolerance_are_compared_as_python_does(out, exp):
    assert right(out, exp, floats=False) == (out == exp)
    assert right(exp[:1] + out, exp[:1] + exp, floats=False) == (out == exp)


@given(plain)
def test_only_floats_are_floats(value):
    assert oracle.is_float(values.encode(value)) == is_floats(value)
    assert oracle.is_float(values.encode([0.5, value])) == isinstance(value, float)
