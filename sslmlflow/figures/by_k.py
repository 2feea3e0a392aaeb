"""How the scores of a clustering depend on the number of clusters."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from sslmlflow.figures.palette import colours_of

MOST_TICKS = 12


def by_k_figure(ks: Sequence[int], scores: Mapping[str, Sequence[float | None]], chosen_k: int | None) -> Figure:
    """One panel a score against the numbers of clusters `ks` (logarithmic); None leaves a gap, `chosen_k` is marked."""
    figure = Figure(figsize=(7, 0.6 + 1.9 * len(scores)), layout="constrained")
    axes = figure.subplots(len(scores), 1, squeeze=False, sharex=True)[:, 0]
    colours = colours_of(scores)
    for axis, (name, values) in zip(axes, scores.items(), strict=True):
        axis.plot(ks, np.array(values, dtype=np.float64), "o-", color=colours[name], markersize=5)
        axis.set_ylabel(name)
        if chosen_k is not None:
            axis.axvline(chosen_k, color="tab:gray", linestyle=":")
    axes[-1].set_xscale("log")
    axes[-1].set_xticks(ticks := ks[:: math.ceil(len(ks) / MOST_TICKS)], [str(k) for k in ticks])
    axes[-1].xaxis.set_minor_locator(NullLocator())
    axes[-1].set_xlabel("number of clusters k")
    if chosen_k is not None:
        axes[0].set_title(f"dotted: the k in use, {chosen_k}", fontsize=10)
    return figure
