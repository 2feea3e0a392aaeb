"""Versions of the rules on which the comparability of results depends.

Raise a version when the same images, parameters and encoder give other numbers than before. The versions are part of
the digests by which results are compared; whatever holds no version was made by version 1.
"""

SPLIT = 1  # which images of a folder are held out
DECODING = 1  # which pixels a file gives
VIEWS = 2  # random views of held-out images, and the augmentations of the probe's training images
METRICS = 1  # definitions of the metrics

_VERSIONS = {"split": SPLIT, "decoding": DECODING, "views": VIEWS, "metrics": METRICS}


def versions(*names: str) -> dict[str, int]:
    """The versions of these rules by name, of all by default."""
    return {name: _VERSIONS[name] for name in names or _VERSIONS}
