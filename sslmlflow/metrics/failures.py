"""What a metric may fail of, and why in words."""

# Torch says in RuntimeErrors that a factorisation did not converge and that memory did not suffice.
FAILURES = (ValueError, ArithmeticError, MemoryError, RuntimeError)


def why(error: BaseException) -> str:
    """The reason as one line; a ValueError is one of ours and says all.

    >>> why(MemoryError()), why(ValueError("needs at least 4 images, got 3"))
    ('MemoryError', 'needs at least 4 images, got 3')
    """
    first = next(iter(str(error).splitlines()), "")
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {first}".rstrip(": ")
