"""Images that are identical pixel by pixel: kept on one side of a drawn split, counted across a given one."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from sslmlflow.data.source import DatasetSpec, Images, ImageSets, draw
from sslmlflow.files import write_atomically

BLOCK = 512  # images read at a time
KEPT_BYTES = 1 << 28  # of pixels: their hashes are kept in a file, as reading so many again takes longer than a second

Hashes = NDArray[np.uint64]
Indices = NDArray[np.int64]


def image_hashes(images: Images, cache: Path) -> Hashes:
    """A hash (n,) of the pixels of each image, of 64 bits.

    Among a million different images two have the same with a probability of 3e-8.
    """
    large = len(images) * int(np.prod(images.shape)) > KEPT_BYTES
    kept = cache / f"{images.fingerprint}.hashes"
    if large and kept.exists() and kept.stat().st_size == 8 * len(images):
        return np.fromfile(kept, "<u8").astype(np.uint64)
    blocks = np.array_split(np.arange(len(images)), range(BLOCK, len(images), BLOCK))
    progress = tqdm(blocks, "comparing images", unit_scale=BLOCK, disable=None if large else True)
    hashes = np.array([_hash(image) for block in progress for image in images.read(block)], np.uint64)
    if large:
        write_atomically(kept, hashes.astype("<u8").tobytes())
    return hashes


def _hash(image: NDArray[np.uint8]) -> int:
    return int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "little")


def copies(hashes: Hashes) -> int:
    """How many of the images are identical to another."""
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    return int((counts[inverse] > 1).sum())


def keep_together(hashes: Hashes, held_out: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Move identical images to the side of the first of them; return which images (n,) are held out then.

    Without identical images this is `held_out`. A picture with more copies than there are held-out images is trained
    on: it would be most of what is measured. Where nothing is held out by that, every picture is of which a copy was;
    where all images are identical, they stay as they were.

    >>> keep_together(np.array([7, 8, 7, 9], np.uint64), np.array([True, True, False, False])).tolist()
    [True, True, True, False]
    """
    _, first, inverse, counts = np.unique(hashes, return_index=True, return_inverse=True, return_counts=True)
    by_first = held_out[first] & (counts <= held_out.sum())
    by_any = np.bincount(inverse, held_out) > 0
    for chosen in (by_first, by_any):
        if chosen.any() and not chosen.all():
            return np.asarray(chosen[inverse])
    return held_out


def divided(hashes: Hashes, held_out: NDArray[np.bool_], spec: DatasetSpec) -> tuple[Indices, Indices]:
    """The indices to train on and to hold out, with identical images on one side, within the limits of `spec`."""
    moved = keep_together(hashes, held_out)
    train, test = np.flatnonzero(~moved), np.flatnonzero(moved)
    return (
        train[draw(len(train), spec.max_train, spec.seed, "train")],
        test[draw(len(test), spec.max_test, spec.seed, "test")],
    )


def copies_across(sets: ImageSets, cache: Path) -> tuple[str, ...]:
    """Sentences on held-out images that are also trained on."""
    trained = image_hashes(sets.train, cache)
    notes = []
    for images, what in ((sets.test, "held-out"), (sets.validation, "monitored")):
        if images is not None and (count := int(np.isin(image_hashes(images, cache), trained).sum())):
            notes.append(
                f"{count:,} of {len(images):,} {what} images are also among the training images: probe accuracy and "
                "retrieval will look better than they are"
            )
    return tuple(notes)
