"""How many held-out images are nearly trained on: counted once, with the first milestone of a training."""

from tqdm import tqdm

from sslmlflow.data.near_copies import near_copies
from sslmlflow.data.source import ImageSets

NEAR_COPIES = "data/near_copies"


def count_near_copies(sets: ImageSets) -> dict[str, float]:
    """Print a sentence if there are any; return the number as a metric of the milestone."""
    found = 0
    for images, what in ((sets.test, "held-out"), (sets.validation, "monitored")):
        if images is None:
            continue
        near, held_out, trained = near_copies(images, sets.train)
        found += near
        if near:
            tqdm.write(
                f"{near:,} of {held_out:,} {what} images are nearly the same as one of {trained:,} training images "
                "(same picture, at most compressed or resized): what is measured on them will look better than it is"
            )
    return {NEAR_COPIES: float(found)}
