"""Short digests of everything that a result depends on."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def digest(fields: Mapping[str, Any]) -> str:
    """The first 16 hex digits of the SHA-256 of the fields as canonical JSON.

    The order of keys does not count, tuples are lists. Raises TypeError for a value that JSON does not have (its text
    could change from one release of a library to the next), ValueError for NaN and infinite numbers.

    >>> digest({"a": 1, "b": (2.5, None)}) == digest({"b": [2.5, None], "a": 1})
    True
    """
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
