"""Singular values of embeddings over the epochs: a drop to nothing is dimensional collapse (arXiv:2110.09348)."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

MOST_KEYS = 5


def spectra_figure(spectra: Mapping[str, Mapping[str, NDArray[np.floating[Any]]]]) -> Figure:
    """One panel a part of the network: log10 of its singular values, largest first, one curve a label.

    `spectra` maps the part ("encoder") and the label ("epoch 40"), in the order of the epochs, to the singular values.
    A label has the same colour in every part. Values of 0 are not drawn.
    """
    labels = list(dict.fromkeys(label for curves in spectra.values() for label in curves))
    ramp = matplotlib.colormaps["viridis_r"]
    # The palest end of the map would vanish on white.
    colours = dict(zip(labels, ramp(np.linspace(0.1, 1, len(labels))), strict=True))
    figure = Figure(figsize=(9 if len(spectra) > 1 else 6, 3.6), layout="constrained")
    axes = figure.subplots(1, len(spectra), squeeze=False, sharey=True)[0]
    for axis, (part, curves) in zip(axes, spectra.items(), strict=True):
        for label, values in curves.items():
            logs = np.log10(values, out=np.full(len(values), np.nan), where=values > 0)
            axis.plot(np.arange(1, len(values) + 1), logs, color=colours[label], linewidth=1.5)
        axis.set_title(part, fontsize=11)
        axis.set_xlabel("index of the singular value")
    axes[0].set_ylabel("log10 of the singular value")
    kept = np.unique(np.linspace(0, len(labels) - 1, min(len(labels), MOST_KEYS)).round().astype(int))
    keys = [Line2D([], [], color=colours[labels[i]], label=labels[i]) for i in kept]
    figure.legend(handles=keys, loc="outside upper center", ncols=MOST_KEYS, frameon=False)
    return figure
