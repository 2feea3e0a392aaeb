"""Images beside the views that a method sees of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


def views_figure(images: NDArray[np.uint8], views: Sequence[NDArray[np.float32]]) -> Figure:
    """One column an image: on top as it is (n, c, h, w; 0..255), below it its views (n, 3, h, w; 0..1)."""
    rows: list[NDArray[np.floating[Any]]] = [images / 255, *views]
    figure = Figure(figsize=(len(images), len(rows) + 0.3), layout="constrained")
    axes = figure.subplots(len(rows), len(images), squeeze=False)
    for row, (name, pictures) in enumerate(zip(["image", "view 1", "view 2"], rows, strict=False)):
        for axis, picture in zip(axes[row], pictures, strict=True):
            colour = np.broadcast_to(picture, (3, *picture.shape[1:])).transpose(1, 2, 0)
            axis.imshow(np.clip(colour, 0, 1))
            axis.set(xticks=[], yticks=[])
        axes[row][0].set_ylabel(name)
    return figure
