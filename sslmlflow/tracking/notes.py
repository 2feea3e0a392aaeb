"""Notes on what others wrote on the tracking server and this job leaves out."""

from functools import cache

from sslmlflow.texts import printable


@cache
def note(text: str) -> None:
    """Print a note, once per process; a text from outside in it cannot forge a line."""
    print(f"note: {_cut(printable(text))}", flush=True)


def _cut(text: str, length: int = 300) -> str:
    return text if len(text) <= length else f"{text[:length]}..."
