"""Which language an answer is written in: fences first, then Python's own compiler, then patterns."""

import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from qaq.data import language

RULES = yaml.safe_load((ROOT / "conf/composition/defaults.yaml").read_text())
languages_of = language.detector(RULES["languages"], RULES["longest"])


CASES = [
    ("Sure:\n```js\nlet x = 1\n```\nDone.", "JavaScript"),
    ("~~~PYTHON\nx = 1\n~~~", "Python"),
    ("```bash\npip install x\n```\nthen\n```python\nimport x\n\nprint(x.everything())\n```", "Python"),  # most characters
    ("```\nSELECT a FROM b;\n```", "SQL"),
    ("```rust\nfn main() {", "Rust"),  # a fence that was never closed
    ("def f(x):\n    return x", "Python"),
    ("print('hello')", "Python"),
    ("x = [i for i in range(3)]", "Python"),
    ("Use a loop:\n\nfor x in y:\n    print(x)", "Python"),  # prose around it: by its pattern
    ("function f(a) {\n  return a;\n}", "JavaScript"),
    ("#include <stdio.h>\nint main() { return 0; }", "C"),
    ("#include <iostream>\nint main() { std::cout << 1; }", "C++"),
    ("public class A { }", "Java"),
    ("public int Add(int a, int b)\n{\n return a + b;\n}", "C#"),
    ("select name\nfrom users", "SQL"),
    ("<div>hello</div>", "HTML"),
    ("#!/bin/bash\necho $PWD", "Shell"),
    ("f <- function(x) x", "R"),
    ("The string can be converted with float().", "no code"),
    ("42", "no code"),
    ("```text\nThe answer is 42.\n```", "no code"),
    ("A, B, C", "no code"),
    ("my_dict['message']", "unknown"),
    ("```brainfuck\n+++>+++\n```", "unknown"),
    ("x = '\\d'", "Python"),  # compiling warns of the escape
    ("-" * 19_000 + "1", "no code"),  # too deep for the parser
    ("print(1)\n\0", "Python"),  # no source code for the parser, but for the pattern
    ("a" * 15_000 + "\n" * 4_000, "no code"),  # nothing here takes long
    ("```" + "a" * 300_000, "no code"),
    ("<a " * 6_000, "no code"),
    ("half a pair \ud800 = 1", "no code"),
    ("see: " + "`" * 200_000, "no code"),
    ("", "no code"),
    ("We let n = 5 be the number of balls, so the answer is 10.", "no code"),  # sentences are not held against the patterns
    ("To solve it, select 2 red balls from the 5 in the box, as said.", "no code"),
    ("An SQL injection lets users delete from tables that they may not see.", "no code"),
    ("Let me show you how this can be done in the following lines:\nlet x = 5;\nconst y = 6;", "JavaScript"),
]  # fmt: skip


def test_the_language_of_an_answer():
    found = languages_of([answer for answer, _ in CASES])
    assert [(answer[:60], name) for (answer, _), name in zip(CASES, found, strict=True)] == [
        (answer[:60], name) for answer, name in CASES
    ]


@given(st.lists(st.text("ab `~\n{}()=:;<>#$def\"'\\/-.0\x00", max_size=200), max_size=20))
def test_every_text_has_one_whatever_stands_beside_it(answers):
    known = {one["name"] for one in RULES["languages"]} | {language.NO_CODE, language.UNKNOWN}
    found = languages_of(answers)
    assert set(found) <= known
    assert languages_of(answers[::-1]) == found[::-1]


def test_what_ends_the_parser_is_not_python_and_costs_no_other_text():
    of = language.detector(RULES["languages"], 3_000_000)
    deep = ["-" * 2_000_000 + "1", "x = " + "+".join("1" * 200_000), "a" + ".b" * 300_000]
    assert of([part for one in deep for part in (one, "x = 1")])[1::2] == ["Python"] * 3


def test_a_long_text_is_looked_at_up_to_a_limit_and_not_parsed():
    short = language.detector(RULES["languages"], 10)
    assert short(["x = 1\n" * 20, "import os\n" + "x = 1\n" * 20]) == ["unknown", "Python"]


def test_a_pattern_that_is_none_is_refused_with_its_language():
    with pytest.raises(ValueError, match=r"composition.languages: the pattern of X is no regular expression"):
        language.detector([{"name": "X", "tags": [], "pattern": "("}], 10)
