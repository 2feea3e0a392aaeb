"""How far each layer has fallen from its peak, by accuracy and by coding rate reduction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sslmlflow.figures.palette import colours_of


@dataclass(frozen=True)
class Curve:
    """A layer's values by epoch as shares of the highest, which is at the epoch `peak`; None leaves a gap."""

    layer: str
    epochs: Sequence[int]
    shares: Sequence[float | None]
    peak: int


def overfitting_figure(panels: Mapping[str, Sequence[Curve]]) -> Figure:
    """One panel a quantity, by its title, with a curve a layer; a ring marks each peak, the legend says its epoch."""
    figure = Figure(figsize=(9 if len(panels) > 1 else 6, 4), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    colours = colours_of(curve.layer for curves in panels.values() for curve in curves)
    for axis, (title, curves) in zip(axes, panels.items(), strict=True):
        for place, curve in enumerate(curves):
            # Rings get smaller, so that none hides another at the same epoch.
            _draw(axis, curve, colours[curve.layer], ring=14 - 5 * place)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        # Below the axis: curves near their peak leave no place inside it.
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), frameon=False)
    axes[0].set_ylabel("share of the peak")
    return figure


def _draw(axis: Axes, curve: Curve, colour: str, ring: float) -> None:
    shares = np.array(curve.shares, dtype=np.float64)  # None becomes NaN, which matplotlib leaves out
    label = f"{curve.layer} layer, peak at epoch {curve.peak}"
    axis.plot(curve.epochs, shares, "o-", color=colour, markersize=3, linewidth=1.5, label=label)
    axis.plot([curve.peak], [1], "o", color=colour, markersize=ring, markerfacecolor="none", markeredgewidth=2)
