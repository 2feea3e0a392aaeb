"""Metrics over the milestones of one or several runs, each beside the accuracy of a probe."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sslmlflow.figures.palette import colours_of

PROBE_ALONE = "#e76300"
LETTERS_PER_INCH, LETTERS_OF_A_SWATCH = 12, 6
RING: dict[str, Any] = {"markersize": 9, "markerfacecolor": "none", "markeredgecolor": "black"}


@dataclass(frozen=True)
class Series:
    """Values of one run by epoch; None leaves a gap. `low` and `high` bound a band, `outlying` marks points."""

    run: str
    epochs: Sequence[int]
    values: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None
    outlying: Sequence[bool] | None = None


@dataclass(frozen=True)
class Panel:
    """A metric and its course in one or several runs; the title names the unit, too, where there is one."""

    title: str
    series: Sequence[Series]


def curves_figure(panels: Sequence[Panel], probe: Panel | None = None) -> Figure:
    """One panel a metric; the probe's accuracies (0..1) lie over each, dashed, in % on the right axis."""
    columns = 1 if len(panels) == 1 else 2 if len(panels) <= 4 else 3
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(7 if columns == 1 else 9, 0.6 + (3.4, 2.7, 2.3)[columns - 1] * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
    for spare in axes[len(panels) :]:
        spare.remove()
    colours = colours_of(series.run for panel in [*panels, *([probe] if probe else [])] for series in panel.series)
    # A run on its own has a second colour to spare for the probe.
    dashed = colours if len(colours) > 1 else dict.fromkeys(colours, PROBE_ALONE)
    rights: list[Axes] = []
    for place, (axis, panel) in enumerate(zip(axes, panels, strict=False)):
        axis.set_title(panel.title, fontsize=10)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        for series in panel.series:
            _draw(axis, series, colours[series.run])
        if place + columns >= len(panels):
            axis.tick_params(labelbottom=True)
            axis.set_xlabel("epoch")
        if probe:
            rights.append(_overlay(axis, probe, dashed))
            last = place % columns == columns - 1
            rights[-1].tick_params(right=last, labelright=last)
            rights[-1].set_ylabel(f"{probe.title}, %" if last else "")
            rights[-1].sharey(rights[0])
    keys = _keys(panels, probe, colours)
    longest = max(len(str(key.get_label())) for key in keys)
    fit = int(LETTERS_PER_INCH * figure.get_figwidth() / (longest + LETTERS_OF_A_SWATCH))
    figure.legend(handles=keys, loc="outside upper center", ncols=min(max(fit, 1), 4), frameon=False)
    return figure


def _draw(axis: Axes, series: Series, colour: str) -> None:
    values = _gaps(series.values)
    axis.plot(series.epochs, values, "o-", color=colour, markersize=3, linewidth=1.5)
    if series.low is not None and series.high is not None:
        axis.fill_between(series.epochs, _gaps(series.low), _gaps(series.high), color=colour, alpha=0.2, linewidth=0)
    if series.outlying is not None:
        marked = np.array(series.outlying, dtype=bool)
        axis.plot(np.array(series.epochs)[marked], values[marked], "o", **RING)


def _overlay(axis: Axes, probe: Panel, colours: dict[str, str]) -> Axes:
    right = axis.twinx()
    for series in probe.series:
        right.plot(series.epochs, 100 * _gaps(series.values), "--", color=colours[series.run], linewidth=1.2)
    return right


def _keys(panels: Sequence[Panel], probe: Panel | None, colours: dict[str, str]) -> list[Artist]:
    every = [series for panel in panels for series in panel.series]
    keys: list[Artist] = [Line2D([], [], color=colour, label=run) for run, colour in colours.items()]
    if probe:
        colour = "black" if len(colours) > 1 else PROBE_ALONE
        keys.append(Line2D([], [], color=colour, linestyle="--", label=f"{probe.title} (right axis)"))
    if any(series.low is not None for series in every):
        keys.append(Patch(color="black", alpha=0.2, linewidth=0, label="interval"))
    if any(series.outlying is not None for series in every):
        keys.append(Line2D([], [], linestyle="", marker="o", label="outlying", **RING))
    return keys


def _gaps(values: Sequence[float | None]) -> NDArray[np.float64]:
    """None becomes NaN, which matplotlib leaves out."""
    return np.array(values, dtype=np.float64)
