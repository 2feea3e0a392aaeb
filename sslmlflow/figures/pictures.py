"""Thumbnails in rows: what a cluster holds, what lies next to an image, what lies far from everything."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

COLUMNS = 10
MOST_IN_CLUSTERS = 100
MOST_OUTLIERS = 40
SHOWN = 64  # pixels on screen of a thumbnail's longer side
GAP = 4  # pixels on screen between thumbnails
BUDGET = 110_000  # pixels of all thumbnails before they are enlarged, so that a PNG of photographs has < 300 kB
DPI = 100


def clusters_figure(
    pixels: Sequence[NDArray[np.uint8]], names: Sequence[str], title: str, sizes: Sequence[int] | None = None
) -> Figure:
    """One row a cluster: its name and size, then the first images of its array (m, c, h, w).

    A row holds at most 10, and fewer from 11 clusters on, as more than a hundred would be too small to recognise.
    `sizes` counts the images of each cluster; without it the arrays given are taken to be whole clusters.
    """
    counts = [len(cluster) for cluster in pixels] if sizes is None else sizes
    columns = max(4, min(COLUMNS, MOST_IN_CLUSTERS // len(pixels)))
    rows = _thumbnails([cluster[:columns] for cluster in pixels])
    labels = [f"{name}\n{count} image{'s' * (count != 1)}" for name, count in zip(names, counts, strict=True)]
    left = 20 + 8 * max(len(line) for label in labels for line in label.split("\n"))
    figure, axis = _on_screen(_tiled(rows), title, left=left)
    height = rows[0].shape[1]
    axis.set_yticks([row * (height + GAP) + height / 2 for row in range(len(rows))], labels)
    return figure


def neighbours_figure(queries: NDArray[np.uint8], neighbours: NDArray[np.uint8], title: str) -> Figure:
    """One row a query (q, c, h, w): itself in a frame, then its neighbours (q, k, c, h, w), nearest first."""
    rows = _thumbnails([np.concatenate([query[None], near]) for query, near in zip(queries, neighbours, strict=True)])
    figure, axis = _on_screen(_tiled(rows), title, left=16, head=20)
    height, width = rows[0].shape[1:3]
    for row in range(len(rows)):
        corner = (-GAP / 4 - 0.5, row * (height + GAP) - GAP / 4 - 0.5)
        frame = Rectangle(corner, width + GAP / 2, height + GAP / 2, fill=False, edgecolor="#bd1f01", linewidth=2)
        axis.add_patch(frame).set_clip_on(False)
    axis.xaxis.tick_top()
    centres = [column * (width + GAP) + width / 2 for column in range(len(rows[0]))]
    axis.set_xticks(centres, ["query", *(str(i) for i in range(1, len(rows[0])))])
    return figure


def outliers_figure(pixels: NDArray[np.uint8], scores: NDArray[np.floating[Any]]) -> Figure:
    """The images (m, c, h, w) with the highest scores (m,), at most 40, highest first, each above its score."""
    order = np.argsort(-scores, kind="stable")[:MOST_OUTLIERS]
    starts = range(0, len(order), COLUMNS)
    rows = _thumbnails([pixels[order[start : start + COLUMNS]] for start in starts])
    caption = 18
    title = "Images furthest from their neighbours, with the distance"
    figure, axis = _on_screen(_tiled(rows, below=caption), title, left=16, foot=caption)
    height, width = rows[0].shape[1:3]
    for place, index in enumerate(order):
        row, column = divmod(place, COLUMNS)
        x, y = column * (width + GAP) + width / 2, row * (height + caption) + height + 2
        axis.text(x, y, f"{scores[index]:.3g}", ha="center", va="top", fontsize=9)
    return figure


def _thumbnails(rows: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """Rows of images (m, c, h, w) as (m, h', w', 3): whole multiples of their pixels, or averaged down."""
    pixels_each = math.isqrt(BUDGET // max(sum(map(len, rows)), 1))
    height, width = rows[0].shape[2:]
    # A whole fraction of SHOWN, so that enlarging fills the place again.
    side = min(SHOWN // math.ceil(SHOWN / min(pixels_each, SHOWN)), max(height, width))
    size = (max(round(width * side / max(height, width)), 1), max(round(height * side / max(height, width)), 1))
    times = max(SHOWN // side, 1)
    return [_thumbnail_row(row, size, times) for row in rows]


def _thumbnail_row(images: NDArray[np.uint8], size: tuple[int, int], times: int) -> NDArray[np.uint8]:
    thumbnails = np.empty((len(images), size[1], size[0], 3), dtype=np.uint8)
    for thumbnail, image in zip(thumbnails, images, strict=True):
        colour = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
        small = Image.fromarray(np.ascontiguousarray(colour)).resize(size, Image.Resampling.BOX)
        thumbnail[:] = np.asarray(small)
    # Six bits a colour look the same and make the PNG a quarter smaller; 0 stays 0 and 255 stays 255.
    thumbnails = thumbnails & np.uint8(0xFC) | thumbnails >> np.uint8(6)
    return thumbnails.repeat(times, axis=1).repeat(times, axis=2)


def _tiled(rows: Sequence[NDArray[np.uint8]], below: int = GAP) -> NDArray[np.uint8]:
    """A white canvas (H, W, 3) with thumbnail j of row i at (i (h + below), j (w + GAP))."""
    height, width = rows[0].shape[1:3]
    columns = max(map(len, rows))
    canvas = np.full((len(rows) * (height + below) - below, columns * (width + GAP) - GAP, 3), 255, dtype=np.uint8)
    for i, row in enumerate(rows):
        for j, thumbnail in enumerate(row):
            y, x = i * (height + below), j * (width + GAP)
            canvas[y : y + height, x : x + width] = thumbnail
    return canvas


def _on_screen(canvas: NDArray[np.uint8], title: str, left: int, head: int = 0, foot: int = 0) -> tuple[Figure, Axes]:
    """A figure with the canvas at one pixel for one, as nothing else keeps thumbnails sharp; margins in pixels."""
    height, width = canvas.shape[:2]
    top, bottom = 34 + head, 10 + foot
    across, up = max(left + width + 16, 32 + 9 * len(title)), top + height + bottom
    figure = Figure(figsize=(across / DPI, up / DPI), dpi=DPI)
    axis = figure.add_axes((left / across, bottom / up, width / across, height / up))
    axis.imshow(canvas, interpolation="nearest", aspect="auto")
    axis.set(xticks=[], yticks=[])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    figure.text(16 / across, 1 - 22 / up, title, fontsize=12)
    return figure, axis
