"""Whether a text is a program in Python. Asked apart (`qaq.sandbox.limited`), so nothing of ours is imported."""

import ast

# What Python code has beyond an expression: `1, 2` and `yes` compile as well.
_STATEMENTS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.For, ast.While, ast.With,
               ast.If, ast.Try, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Assert, ast.Delete)  # fmt: skip
_CALLED = frozenset(["print", "len", "sum", "max", "min", "sorted", "range", "map", "filter", "list", "set", "dict"])


def is_python(code: str) -> bool:
    """Whether it parses and holds a statement, or calls a built-in function."""
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError):  # ValueError: a null character, or half a surrogate pair
        return False
    return any(isinstance(node, _STATEMENTS) or _is_call(node) for node in body)


def _is_call(node: ast.stmt) -> bool:
    """`console.log(x)` and `f(x)` are Python too, and many other things."""
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in _CALLED
