"""How many held-out images are nearly trained on: counted once, with the first milestone of a training."""

from tqdm import tqdm

from sslmlflow.data.near_copies import near_copies
from sslmlflow.data.source import ImageSets

NEAR_COPIES = "data/near_copies"


def count_near_copies(sets: ImageSets) -> dict[str, float]:
    """Print a sentence if there are any; return the number as a metric of the milestone."""
    near, held_out, trained = near_copies(sets.test, sets.train)
    if near:
        tqdm.write(
            f"{near:,} of {held_out:,} held-out images are nearly the same as one of {trained:,} training images (same "
            "picture, at most compressed or resized): probe accuracy and retrieval will look better than they are"
        )
    return {NEAR_COPIES: float(near)}
