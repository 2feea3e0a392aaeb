"""How often a fault is tried: less in every test run, more by `make long`."""

import os

LONG = "SSLMLFLOW_LONG" in os.environ


def times(short: int, long: int) -> int:
    """How many times in this run."""
    return long if LONG else short
