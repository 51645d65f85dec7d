"""Whether Python accepts a program; nothing is run. Asked apart (`qaq.sandbox.limited`), so nothing of ours is imported."""


def compiles(source: str) -> bool:
    """What is too deep or too large for the compiler it does not accept."""
    try:
        compile(source, "solution.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError):
        return False
    return True
