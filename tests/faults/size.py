"""How often a fault is tried: less in every test run, more by `make faults`."""

import os

LONG = os.environ.get("SSLMLFLOW_FAULTS") == "long"


def times(short: int, long: int) -> int:
    """How many times in this run."""
    return long if LONG else short
