"""Versions of the rules on which the comparability of results depends.

Raise a version when the same images, parameters and encoder give other numbers than before. The versions are part of
the digests by which results are compared; whatever holds no version was made by version 1.
"""

from collections.abc import Mapping

SPLIT = 2  # which images of a folder are held out; since 2, identical images are on one side
DECODING = 2  # which pixels a file gives; 1 read all gray of more than 8 bits with 16
VIEWS = 2  # random views of held-out images, and the augmentations of the probe's training images
# Definitions of the metrics; since 2, k-NN of a single class is undefined; since 3, LiDAR is of raw rows; since 4, of
# random images of all, and the held-out loss of batches of 256 with negatives among themselves.
METRICS = 4

_VERSIONS = {"split": SPLIT, "decoding": DECODING, "views": VIEWS, "metrics": METRICS}
_WORDS = {
    "split": "the choice of a folder's held-out images",
    "decoding": "the pixels that are read from a file",
    "views": "the random views of the held-out images",
    "metrics": "the definitions of the metrics",
}
_PREFIX = "rules/"


def versions(*names: str) -> dict[str, int]:
    """The versions of these rules by name, of all by default."""
    return {name: _VERSIONS[name] for name in names or _VERSIONS}


def rule_texts() -> dict[str, str]:
    """What a run depends on beside its parameters: the version of each rule, as text, under `rules/NAME`."""
    return {f"{_PREFIX}{name}": str(version) for name, version in _VERSIONS.items()}


def changed_rules(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The rules that differ between what two runs depend on, in words; a version that is missing before is 1.

    >>> changed_rules({}, {"rules/split": "2", "rules/views": "1"})
    ["the choice of a folder's held-out images (rule split, version 1, now 2)"]
    """
    return [
        f"{_WORDS[name]} (rule {name}, version {before.get(key, '1')}, now {now[key]})"
        for name, key in ((name, f"{_PREFIX}{name}") for name in _WORDS)
        if key in now and before.get(key, "1") != now[key]
    ]
