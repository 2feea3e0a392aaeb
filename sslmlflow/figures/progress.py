"""The course of a training over its milestones."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

COLOURS = "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown"


def progress_figure(
    epochs: Sequence[int],
    criterion: tuple[str, Sequence[float | None]],
    accuracies: Mapping[str, Sequence[float | None]],
    chosen: int | None,
) -> Figure:
    """A label-free criterion (left axis) and accuracies in 0..1 (right axis) by epoch; `chosen` is marked."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    name, values = criterion
    (line,) = left.plot(epochs, _gaps(values), "o-", color="tab:blue")
    left.set(xlabel="epoch of the milestone", ylabel=f"{name} (no labels)")
    left.yaxis.label.set_color("tab:blue")
    lines, names = [line], [name]
    if chosen is not None:
        lines.append(left.axvline(chosen, color="tab:gray", linestyle=":"))
        names.append(f"chosen without labels: epoch {chosen}")
    if accuracies:
        right = left.twinx()
        right.set_ylabel("accuracy (labels), %")
        for (label, series), colour in zip(accuracies.items(), COLOURS, strict=False):
            percent = [None if value is None else 100 * value for value in series]
            (line,) = right.plot(epochs, _gaps(percent), "s--", color=colour, markersize=4)
            lines.append(line)
            names.append(label)
    figure.legend(lines, names, loc="outside upper center", ncols=2, frameon=False)
    return figure


def _gaps(values: Sequence[float | None]) -> list[float]:
    """Undefined values leave a gap in the line."""
    return [float("nan") if value is None else value for value in values]
