"""What a query is about: certain words decide, others are counted."""

import pytest
import yaml
from conftest import ROOT

from qaq.data import topic

RULES = yaml.safe_load((ROOT / "conf/composition/defaults.yaml").read_text())["topics"]


@pytest.mark.parametrize(("query", "expected"), [
    ("Write a regex to remove all whitespace characters from a string", "regular expressions"),  # certain, though two are of strings
    ("Create a SQL query to list the sum of numbers", "databases"),
    ("Implement a linked list", "algorithms"),
    ("Sort the elements of an array in ascending order", "lists, sorting"),
    ("Calculate the average of the NUMBERS", "mathematics"),
    ("Count the characters of a string", "strings"),
    ("Create an HTML page", "web"),
    ("Write something nice", "other"),
    ("", "other"),
])  # fmt: skip
def test_the_topic_of(query, expected):
    assert topic.detector(RULES)(query) == expected


def test_most_different_words_win_and_of_equals_the_first():
    rules = [
        {"name": "a", "certain": ["surely"], "words": ["one", "two words"]},
        {"name": "b", "certain": [], "words": ["three", "four"]},
    ]
    of = topic.detector(rules)
    assert of("one three four") == "b"
    assert of("one one one three four") == "b"  # a word counts once
    assert of("three one") == "a"
    assert of("three four, Two Words, one") == "a"
    assert of("three four surely") == "a"
    assert of("two other words") == "other"
    assert of("fours") == "b"


@pytest.mark.parametrize(("one", "several"), [("class", "classes"), ("index", "indexes"), ("query", "queries"), ("branch", "branches"),
                                              ("hash", "hashes"), ("house", "houses"), ("axis", "axis")])  # fmt: skip
def test_a_word_and_its_plural_are_one(one, several):
    assert topic.detector([{"name": "a", "certain": [], "words": [one]}])(f"of two {several}") == "a"


@pytest.mark.parametrize(
    ("words", "message"), [(["four"], "'four' of 'b' stands in 'a' too"), (["!"], "holds no letter or digit")]
)
def test_a_word_of_two_families_or_of_none_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        topic.detector([{"name": "a", "certain": [], "words": ["four"]}, {"name": "b", "certain": [], "words": words}])
