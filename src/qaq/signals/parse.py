"""What of a text is Python: the program in an answer, the tests in a model's reply, and what of a test is judged where.

Pure functions of text, asked apart by `programs` (qaq.sandbox.limited), so nothing of ours is imported. Nothing is run.

An answer's program: its fenced blocks of Python together, or the whole text if it compiles. XCoder's tests call functions and
classes, so a program that defines none has nothing to run; that covers a word or a number, which is Python too.

A reply's tests: each `assert` on its own (also a TestCase's), with the simple statements before it that it needs. A comparison
with a literal is judged outside the process that runs the answer: that one is not told the literal.
"""

import ast
import builtins
import copy
import dis
import marshal
import re
import textwrap
from collections.abc import Iterator

_FENCE = re.compile(r"^[ \t]*(?:```+|~~~+)[ \t]*([^\n`]*)$", re.MULTILINE)
_PYTHON = re.compile(r"\W*(python|py)[\d.]*(\W|$)", re.IGNORECASE)
_GOES_ON = re.compile(r"\s|[)\]}#]|$|(else|elif|except|finally)\b")  # how a line starts that is no new statement
_REFUSED = (SyntaxError, ValueError, OverflowError)  # ValueError: a null byte, half a surrogate pair
_SIMPLE = ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Import | ast.ImportFrom
_BUILTINS = frozenset(dir(builtins))
_COMPARED = {
    "assertEqual": ast.Eq, "assertEquals": ast.Eq, "assertListEqual": ast.Eq, "assertDictEqual": ast.Eq,
    "assertTupleEqual": ast.Eq, "assertSetEqual": ast.Eq, "assertNotEqual": ast.NotEq, "assertIs": ast.Is,
    "assertIsNot": ast.IsNot, "assertIn": ast.In, "assertNotIn": ast.NotIn, "assertGreater": ast.Gt,
    "assertGreaterEqual": ast.GtE, "assertLess": ast.Lt, "assertLessEqual": ast.LtE,
}  # fmt: skip
_CLOSE = 5e-8  # assertAlmostEqual: the difference is 0 when rounded to 7 places


def program(answer: str) -> tuple[str, str, list[str]]:
    """(status, source, names of its functions and classes); status is "" or why nothing can be tested."""
    source = _source(answer)
    if source is None:
        return "not python", "", []
    names = list(dict.fromkeys(_defined(ast.parse(source).body)))
    return ("", source, names) if names else ("nothing to run", "", [])


def tests(reply: str, names: list[str], count: int) -> list[str]:
    """The sources of up to `count` different tests that mention one of `names`. The reply begins inside a block or before one."""
    found = {}
    for part in _FENCE.split(reply)[::2]:
        for setup, check in _checks(_statements(part), []):
            if test := _test(setup, check, frozenset(names)):
                found[test] = None
    return list(found)[:count]


def plan(test: str, name: str) -> tuple[str, str, str, bool] | None:
    """(source of a function `name` that gives a value, what the value is to be, literal, whether that stands on the left).

    What it is to be: "truth" (True), "near" (the literal is [number, tolerance, whether just as far will do]) or a comparison's class in `ast`; the literal is
    marshalled, in hex. None if it is no test.
    """
    *setup, check = _parsed(test) or [None]
    if not isinstance(check, ast.Assert):
        return None
    what, literal, left, value = _judged(check.test)
    function = ast.parse(f"def {name}(): pass").body[0]
    function.body = [*setup, ast.Return(value)]
    source = ast.unparse(ast.fix_missing_locations(function))
    return (source, what, marshal.dumps(literal).hex(), left) if _compiles(source) else None


def _source(answer: str) -> str | None:
    """The program of an answer; of several blocks that are no program together, those that compile."""
    pieces = _FENCE.split(answer)
    labels, blocks = pieces[1::4], pieces[2::4]
    if not blocks:
        return next((text for text in (answer, textwrap.dedent(answer)) if _compiles(text)), None)
    python = [block for label, block in zip(labels, blocks, strict=True) if _PYTHON.match(label)]
    chosen = python or [block for label, block in zip(labels, blocks, strict=True) if not label.strip()]
    chosen = [textwrap.dedent(block).strip("\n") for block in chosen]
    whole = "\n".join(chosen)
    if not _compiles(whole):
        chosen = [block for block in chosen if _compiles(block)]
    return "\n".join(chosen) if chosen else None


def _compiles(source: str) -> bool:
    try:
        compile(source, "solution.py", "exec", dont_inherit=True)
    except _REFUSED:
        return False
    return True


def _defined(body: list[ast.AST]) -> Iterator[str]:
    """Functions and classes of a module, wherever its top level defines them."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.If | ast.Try | ast.ExceptHandler | ast.With):
            for part in ("body", "handlers", "orelse", "finalbody"):
                yield from _defined(getattr(node, part, []))


def _statements(text: str) -> list[ast.stmt]:
    """The top-level statements of a text; where it is no program as a whole, of those of its parts that are."""
    text = textwrap.dedent(text)
    whole = _parsed(text)
    if whole is not None:
        return whole
    parts: list[list[str]] = []
    for line in text.splitlines():
        if parts and _GOES_ON.match(line):
            parts[-1].append(line)
        else:
            parts.append([line])
    last = parts[-1]
    while last and _parsed("\n".join(last)) is None:  # the reply was stopped in it
        last.pop()
    return [statement for part in parts for statement in _parsed("\n".join(part)) or []]


def _parsed(text: str) -> list[ast.stmt] | None:
    try:
        return ast.parse(text).body
    except _REFUSED:
        return None


def _checks(body: list[ast.stmt], setup: list[ast.stmt]) -> Iterator[tuple[list[ast.stmt], ast.expr]]:
    """What is asserted, each with the simple statements before it; of functions and methods that are tests, and the body itself."""
    setup = [*setup]
    for node in body:
        if isinstance(node, ast.ClassDef) or (isinstance(node, ast.FunctionDef) and _is_test(node)):
            yield from _checks(node.body, setup)
        elif isinstance(node, _SIMPLE):
            setup.append(node)
        elif (check := _asserted(node)) is not None:
            yield [*setup], check
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            setup.append(node)


def _is_test(node: ast.FunctionDef) -> bool:
    given = [argument.arg for argument in node.args.args]
    return node.name.startswith("test") and given in ([], ["self"])


def _asserted(node: ast.stmt) -> ast.expr | None:
    """The condition of an assert, also of a TestCase's."""
    if isinstance(node, ast.Assert):
        return node.test
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call) or node.value.keywords:
        return None
    method = node.value.func
    if not isinstance(method, ast.Attribute) or not isinstance(method.value, ast.Name) or method.value.id != "self":
        return None
    return _condition(method.attr, node.value.args)


def _condition(method: str, given: list[ast.expr]) -> ast.expr | None:
    """What a TestCase's method asserts of its arguments."""
    if len(given) >= 2 and method in _COMPARED:
        return ast.Compare(given[0], [_COMPARED[method]()], [given[1]])
    if len(given) == 2 and method == "assertAlmostEqual":
        difference = ast.Call(ast.Name("abs"), [ast.BinOp(given[0], ast.Sub(), given[1])], [])
        return ast.Compare(difference, [ast.Lt()], [ast.Constant(_CLOSE)])
    if given and method in ("assertTrue", "assertFalse"):
        return given[0] if method == "assertTrue" else ast.UnaryOp(ast.Not(), given[0])
    if given and method in ("assertIsNone", "assertIsNotNone"):
        operator = ast.Is() if method == "assertIsNone" else ast.IsNot()
        return ast.Compare(given[0], [operator], [ast.Constant(None)])
    return None


def _test(setup: list[ast.stmt], check: ast.expr, names: frozenset[str]) -> str | None:
    """The source of a test, with only what it needs of what stands before it; None if it tests nothing that the answer defines."""
    check = _with_literals(check, setup)
    needed, kept = _names(check) - names - _BUILTINS, []
    for statement in reversed(setup):
        if _names(statement) & needed:
            needed |= _names(statement) - names - _BUILTINS
            kept.insert(0, statement)
    mentioned = _names(check).union(*map(_names, kept))
    if not mentioned & names or "self" in mentioned:  # what setUp prepared is not here
        return None
    module = ast.fix_missing_locations(ast.Module([*kept, ast.Assert(check)], []))
    test = ast.unparse(module)
    return test if plan(test, "test") else None


def _with_literals(check: ast.expr, setup: list[ast.stmt]) -> ast.expr:
    """A comparison in which names that only ever stand for a literal (`expected = 3`) are that literal."""
    if not isinstance(check, ast.Compare):
        return check
    bound = [name for statement in setup for name in _names(statement)]
    literals = {statement.targets[0].id: statement.value for statement in setup
                if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
                and len(statement.targets) == 1 and bound.count(statement.targets[0].id) == 1 and _is_literal(statement.value)}  # fmt: skip
    sides = [literals.get(side.id, side) if isinstance(side, ast.Name) else side
             for side in (check.left, *check.comparators)]  # fmt: skip
    return ast.Compare(sides[0], check.ops, sides[1:])


def _names(node: ast.AST) -> set[str]:
    """Every name in it that stands by itself, and what an import binds."""
    found = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
    return found | {(alias.asname or alias.name).split(".")[0] for alias in getattr(node, "names", [])}


def _judged(check: ast.expr) -> tuple[str, object, bool, ast.expr]:
    """(what, literal, whether it stands on the left, the expression whose value is judged)."""
    truth = "truth", None, False, ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), check))
    if not isinstance(check, ast.Compare) or len(check.ops) != 1:
        return truth
    sides, what = (_folded(check.left), _folded(check.comparators[0])), type(check.ops[0]).__name__
    if (near := _near(sides, what)) is not None:
        return near
    literals = [_is_literal(side) for side in sides]
    if literals.count(True) != 1:
        return truth
    literal = ast.literal_eval(sides[literals.index(True)])
    if what.startswith("Is") and literal is not None and not isinstance(literal, bool):
        return truth
    return what, literal, literals[0], sides[literals.index(False)]


def _near(sides: tuple[ast.expr, ast.expr], what: str) -> tuple[str, object, bool, ast.expr] | None:
    """abs(value - number) < tolerance."""
    match sides[0]:
        case ast.Call(func=ast.Name(id="abs"), args=[ast.BinOp(op=ast.Sub(), left=left, right=right)]):
            literals = [_is_number(left), _is_number(right)]
            if what in ("Lt", "LtE") and _is_number(sides[1]) and literals.count(True) == 1:
                number, value = (left, right) if literals[0] else (right, left)
                literal = [ast.literal_eval(number), ast.literal_eval(sides[1]), what == "LtE"]
                return "near", literal, False, value
    return None


def _folded(node: ast.expr) -> ast.expr:
    """With arithmetic on constants (10 * 11) done, as far as Python's compiler does it, which knows what is too large."""
    return _Folding().visit(copy.deepcopy(node))


class _Folding(ast.NodeTransformer):
    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        """A constant, if the compiler makes one of it."""
        self.generic_visit(node)
        if not isinstance(node.left, ast.Constant | ast.UnaryOp) or not isinstance(
            node.right, ast.Constant | ast.UnaryOp
        ):
            return node
        code = compile(ast.fix_missing_locations(ast.Expression(node)), "", "eval")
        if any(step.opname.startswith(("BINARY", "UNARY", "LOAD_NAME")) for step in dis.get_instructions(code)):
            return node
        return ast.parse(repr(eval(code)), mode="eval").body  # all it does is to give the constant


def _is_literal(node: ast.expr) -> bool:
    try:
        marshal.dumps(ast.literal_eval(node))
    except (*_REFUSED, TypeError):
        return False
    return True


def _is_number(node: ast.expr) -> bool:
    return _is_literal(node) and type(ast.literal_eval(node)) in (int, float)
