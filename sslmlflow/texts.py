"""Texts that come from outside, made fit to be printed."""

import os


def printable(text: object) -> str:
    r"""A text from outside (a file name, a run's name, a server's answer) on one line, control characters escaped.

    >>> printable("two\nlines")
    'two\\nlines'
    """
    decoded = os.fsencode(str(text)).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in decoded)
