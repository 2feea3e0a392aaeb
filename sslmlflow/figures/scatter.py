"""Points in three dimensions, as three views along the axes."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sslmlflow.figures.palette import COLOURS

MARKERS = ("o", "^")
STYLES = len(COLOURS) * len(MARKERS)
UNLABELLED = "#d9d9d9"


def scatter_figure(
    points: NDArray[np.floating[Any]],
    groups: NDArray[np.integer[Any]] | None,
    title: str,
    group_name: str = "cluster",
    seen: int = 4000,
) -> Figure:
    """UMAP points (n, 3) seen along each axis, coloured by group (n,), where -1 stands for no group.

    A group has the same colour and marker in every figure; they repeat after 20. The figure has always the same size
    and its axes the same places. All three axes span the same length, snapped to a coarse grid, so that the frames of
    a slider over epochs hold still. Of more than `seen` points a random part is drawn, the same for the same n.
    """
    # A random order also keeps a group that comes last in the data from covering the others.
    order = np.random.default_rng(0).permutation(len(points))[:seen]
    drawn = points[order]
    styles = np.zeros(len(drawn), dtype=int) if groups is None else groups[order]
    figure = Figure(figsize=(9, 3.9))  # no layout engine: it would move the axes with the width of the tick labels
    axes = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.07, right=0.985, bottom=0.23, top=0.91, wspace=0.32)
    limits = _limits(drawn)
    for axis, (x, y) in zip(axes, ((0, 1), (0, 2), (1, 2)), strict=True):
        _draw(axis, drawn[:, x], drawn[:, y], styles)
        axis.set(xlim=limits[x], ylim=limits[y], box_aspect=1)
        axis.set_xlabel(f"UMAP {x + 1}", labelpad=1)
        axis.set_ylabel(f"UMAP {y + 1}")
        axis.yaxis.set_label_coords(-0.2, 0.5)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(MaxNLocator(5))
    figure.text(0.02, 0.94, title, fontsize=12)
    figure.text(0.985, 0.94, f"{len(drawn)} of {len(points)} images", ha="right")
    if groups is not None:
        _legend(figure, groups, group_name)
    return figure


def _draw(axis: Axes, x: NDArray[Any], y: NDArray[Any], groups: NDArray[Any]) -> None:
    none = groups < 0
    axis.scatter(x[none], y[none], s=5, c=UNLABELLED, linewidths=0)
    for i, marker in enumerate(MARKERS):
        chosen = ~none & (groups // len(COLOURS) % len(MARKERS) == i)
        colours = np.array(COLOURS)[groups[chosen] % len(COLOURS)]
        axis.scatter(x[chosen], y[chosen], s=5 + 3 * i, c=colours, marker=marker, linewidths=0)


def _limits(points: NDArray[Any]) -> list[tuple[float, float]]:
    """One span for all axes around the middle of each: steps of 1/16 to 1/8 of it hide small shifts between epochs."""
    low, high = points.min(axis=0), points.max(axis=0)
    half = float((high - low).max()) / 2 * 1.04 or 1.0
    step = 2.0 ** math.floor(math.log2(half)) / 8
    middle = np.round((low + high) / 2 / step) * step
    reach = float(np.maximum(high - middle, middle - low).max()) * 1.04
    half = max(math.ceil(reach / step), 1) * step
    return [(float(m) - half, float(m) + half) for m in middle]


def _legend(figure: Figure, groups: NDArray[Any], name: str) -> None:
    present = np.unique(groups)
    if (present >= 0).sum() > STYLES:
        figure.text(0.5, 0.05, f"colour: {name} ({(present >= 0).sum()} in all; colours repeat)", ha="center")
        return
    handles = [
        Line2D([], [], linestyle="", marker=MARKERS[g // len(COLOURS) % len(MARKERS)], color=COLOURS[g % len(COLOURS)])
        if g >= 0
        else Line2D([], [], linestyle="", marker="o", color=UNLABELLED)
        for g in present
    ]
    names = [str(g) if g >= 0 else "none" for g in present]
    figure.legend(
        handles, names, title=name, loc="lower center", ncols=STYLES + 1, frameon=False, columnspacing=0.9,
        handletextpad=0.1, handlelength=1, borderpad=0,
    )  # fmt: skip
