"""Models as points: a metric against the accuracy of a probe."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from sslmlflow.figures.palette import colours_of


class Point(NamedTuple):
    """A model by its name, its metric and its accuracy (0..1)."""

    name: str
    metric: float
    accuracy: float


def models_figure(families: Mapping[str, Sequence[Point]], metric: str, probe: str) -> Figure:
    """One point a model with its name beside it, one colour an architecture; accuracies in %."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axis = figure.subplots()
    colours = colours_of(families)
    for family, points in families.items():
        x, y = [point.metric for point in points], [100 * point.accuracy for point in points]
        axis.plot(x, y, "o", color=colours[family], label=family, markersize=6)
        for point in points:
            short = point.name.removeprefix(family).lstrip("_") or point.name
            place = (point.metric, 100 * point.accuracy)
            axis.annotate(short, place, xytext=(5, 3), textcoords="offset points", fontsize=8)
    axis.set_xlabel(metric)
    axis.set_ylabel(f"{probe}, %")
    axis.margins(0.1)
    figure.legend(loc="outside upper center", ncols=min(len(families), 4), frameon=False)
    return figure
