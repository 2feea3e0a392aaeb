"""Correlations as a coloured table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

UNDEFINED: dict[str, Any] = {"facecolor": "#f0f0f0", "edgecolor": "#d4d4d4", "hatch": "///", "linewidth": 0}
UPRIGHT: dict[str, Any] = {"rotation": 90}


def correlation_figure(
    rows: Sequence[str],
    columns: Sequence[str],
    r: NDArray[np.floating[Any]],
    significant: NDArray[np.bool_],
    title: str,
) -> Figure:
    """Correlations (rows, columns) in -1..1, blue to red, written in their cells; NaN is hatched.

    A star and bold type mark the significant ones, a boolean array of the same shape. `title` says what r is.
    """
    beside, below = (max(len(line) for name in names for line in name.split("\n")) for names in (rows, columns))
    upright = below > 8
    width, height = 0.62 * len(columns) + 0.085 * beside + 0.4, 0.42 * len(rows) + 0.7
    figure = Figure(figsize=(max(width, 5), height + (0.085 * below if upright else 0)), layout="constrained")
    axis = figure.subplots()
    axis.imshow(np.ma.masked_invalid(r), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(r):
        if np.isnan(value):
            axis.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, **UNDEFINED))
        axis.text(
            j, i, _written(float(value), bool(significant[i, j])), ha="center", va="center",
            color="white" if abs(value) > 0.6 else "black", fontweight="bold" if significant[i, j] else "normal",
        )  # fmt: skip
    axis.set_xticks(range(len(columns)), columns, **(UPRIGHT if upright else {}))
    axis.set_yticks(range(len(rows)), rows)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set_xticks(np.arange(1, len(columns)) - 0.5, minor=True)
    axis.set_yticks(np.arange(1, len(rows)) - 0.5, minor=True)
    axis.grid(which="minor", color="white", linewidth=2)
    axis.tick_params(which="minor", length=0)
    figure.suptitle(title, fontsize=10, x=0.02, ha="left")
    return figure


def _written(value: float, significant: bool) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.2f}".replace("-", "−") + "*" * significant
