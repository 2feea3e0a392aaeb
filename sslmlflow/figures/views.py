"""Images beside the views that a method sees of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

GAP = 0.06  # between pictures, as a share of their side
LABELS = 0.8  # inches, for the names of the rows; a picture has one inch


def views_figure(images: NDArray[np.uint8], views: Sequence[NDArray[np.float32]]) -> Figure:
    """One column an image: on top as it is (n, c, h, w; 0..255), below it its views (n, 3, size, size; 0..1)."""
    rows: list[NDArray[np.floating[Any]]] = [images / 255, *views]
    width = len(images) + LABELS
    figure = Figure(figsize=(width, len(rows)))
    # One axes for all pictures: one per picture takes a tenth of a second each.
    axes = figure.add_axes((LABELS / width, 0, len(images) / width, 1))
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            colour = np.broadcast_to(picture, (3, *picture.shape[1:])).transpose(1, 2, 0)
            edges = column + GAP, column + 1 - GAP, row + 1 - GAP, row + GAP
            axes.imshow(np.clip(colour, 0, 1), extent=edges, interpolation="nearest")
    axes.set(xlim=(0, len(images)), ylim=(len(rows), 0), xticks=[], yticks=np.arange(len(rows)) + 0.5)
    axes.set_yticklabels(["image", *(f"view {number + 1}" for number in range(len(views)))])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure
