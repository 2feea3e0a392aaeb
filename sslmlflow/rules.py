"""Versions of the rules on which the comparability of results depends.

Raise a version when the same images, parameters and encoder give other numbers than before. The versions are part of
the digests by which results are compared; whatever holds no version was made by version 1.
"""

SPLIT = 2  # which images of a folder are held out; since 2, identical images are on one side
DECODING = 1  # which pixels a file gives
VIEWS = 1  # random views of held-out images, and the augmentations of the probe's training images
METRICS = 1  # definitions of the label-free metrics
