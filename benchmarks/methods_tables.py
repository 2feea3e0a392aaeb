"""The tables and the figure of `benchmarks.methods`, from what it measured of each method and seed."""

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure

from sslmlflow.config.methods import METHODS
from sslmlflow.figures.curves import Panel, Series, curves_figure
from sslmlflow.metrics.catalogue import CATALOGUE, CRITERIA, CRR, CRR_ADJUSTED, KNN, LABEL_FREE, STANDARDISED
from sslmlflow.metrics.correlation import lost_by_the_last, pearson, regret

UMM_TABLE_11 = {"simclr": 0.94, "byol": 0.92, "barlow-twins": 0.94, "swav": 0.94, "vicregl": 0.95}  # CIFAR-10
RATES = CRR, "label_free/crr_pooled", CRR_ADJUSTED
Cell = dict[str, Any]


def accuracy_table(cells: Sequence[Cell], of_pixels: float) -> Iterator[str]:
    """Probes at the initialisation and at the end, of every seed; it learns where 5-NN beats two others in each."""
    yield f"## Accuracy, at the initialisation and after 20 epochs, by seed; 5-NN on pixels: {100 * of_pixels:.1f} %\n"
    yield _line(
        ["method", "optimiser, lr", "probe, init", "probe, end", "5-NN, init", "5-NN, end", "above pixels", "learns"]
    )
    yield _line(["---", "---", *["---:"] * 5, "---"])
    for method, of_method in _by_method(cells):
        ends = [[cell["values"][key][place] for cell in of_method] for key in (STANDARDISED, KNN) for place in (0, -1)]
        learns = all(end > max(first, of_pixels) for first, end in zip(ends[2], ends[3], strict=True))
        shown = [", ".join(f"{100 * value:.1f}" for value in end) for end in ends]
        above = ", ".join(f"{100 * (end - of_pixels):+.1f}" for end in ends[3])
        how = f"{of_method[0]['optimiser']}, {float(of_method[0]['lr']):g}"
        yield _line([method, how, *shown, above, "yes" if learns else "not learning at this scale"])
    yield ""


def correlation_table(cells: Sequence[Cell]) -> Iterator[str]:
    """Pearson's r of each label-free metric with the standardised probe, by method; means over the seeds."""
    groups = list(_by_method(cells))
    for first, what in ((0, "six milestones"), (1, "five milestones, without the initialisation")):
        yield f"## Pearson's r with the standardised probe, {what}, mean over the seeds\n"
        yield _line(["", *(method for method, _ in groups)])
        yield _line(["---", *["---:"] * len(groups)])
        for key in LABEL_FREE:
            yield _line([CATALOGUE[key].name, *(_mean_r(of_method, key, first) for _, of_method in groups)])
        yield _line(["range of the probe, %", *(_range(of_method, first) for _, of_method in groups)])
        yield ""


def _mean_r(cells: Sequence[Cell], key: str, first: int = 0) -> str:
    values = [cell["values"] for cell in cells if key in cell["values"]]
    found = [pearson(of_cell[key][first:], of_cell[STANDARDISED][first:]) for of_cell in values]
    rs = [one.r for one in found if not one.reason]
    return f"{statistics.mean(rs):+.2f}" if rs and len(rs) == len(cells) else "undefined"


def _range(cells: Sequence[Cell], first: int) -> str:
    values = [value for cell in cells for value in cell["values"][STANDARDISED][first:]]
    return f"{100 * min(values):.1f} to {100 * max(values):.1f}"


def regret_table(cells: Sequence[Cell]) -> Iterator[str]:
    """Points of the standardised probe lost by choosing the milestone by each criterion, and by taking the last."""
    yield "## Points of the standardised probe lost by the choice, by method and seed\n"
    yield _line(["", *(f"{cell['method']}, {cell['seed']}" for cell in cells), "mean"])
    yield _line(["---", *["---:"] * (len(cells) + 1)])
    for key in CRITERIA:
        lower = CATALOGUE[key].lower_is_better
        lost = [regret(_column(cell, key), cell["values"][STANDARDISED], lower) for cell in cells]
        yield _row(CATALOGUE[key].name, lost)
    yield _row("the last", [lost_by_the_last(cell["values"][STANDARDISED]) for cell in cells])


def _column(cell: Cell, key: str) -> list[float | None]:
    """A metric at every milestone; MLflow has nothing of one that is undefined at all of them."""
    undefined: list[float | None] = [None] * len(cell["values"][STANDARDISED])
    values: list[float | None] = cell["values"].get(key, undefined)
    return values


def _row(name: str, lost: Sequence[float | None]) -> str:
    known = [one for one in lost if one is not None]
    mean = f"{100 * statistics.mean(known):.1f}" if len(known) == len(lost) else "-"
    return _line([name, *("-" if one is None else f"{100 * one:.1f}" for one in lost), mean])


def _by_method(cells: Sequence[Cell]) -> Iterator[tuple[str, list[Cell]]]:
    for method in METHODS:
        if found := [cell for cell in cells if cell["method"] == method]:
            yield method, found


def _line(columns: Sequence[str]) -> str:
    return f"| {' | '.join(columns)} |"


def umm_table(cells: Sequence[Cell]) -> Iterator[str]:
    """UMM's Table 11: r of the coding rate reductions and the standardised probe, by method, means over the seeds."""
    yield "## UMM's Table 11 in miniature\n"
    keys = [(name, key, first) for key in RATES for name, first in (("with init", 0), ("without", 1))]
    yield _line(["method", *(f"{CATALOGUE[key].name}, {name}" for name, key, _ in keys), "the paper, CIFAR-10"])
    yield _line(["---", *["---:"] * (len(keys) + 1)])
    for method, of_method in _by_method(cells):
        if method in UMM_TABLE_11:
            rs = [_mean_r(of_method, key, first) for _, key, first in keys]
            yield _line([method, *rs, f"{UMM_TABLE_11[method]:+.2f}"])
    yield ""


def umm_figure(cells: Sequence[Cell]) -> Figure:
    """UMM's Figure 6: coding rate reductions and the standardised probe along training, of the first seed."""
    shown = {method: of_method[0]["values"] for method, of_method in _by_method(cells) if method in UMM_TABLE_11}

    def panel(key: str) -> Panel:
        title = f"{CATALOGUE[key].name} (nats)" if key in RATES else CATALOGUE[key].name
        epochs = {method: [round(epoch) for epoch in values["epoch"]] for method, values in shown.items()}
        return Panel(title, [Series(method, epochs[method], values[key]) for method, values in shown.items()])

    return curves_figure([panel(key) for key in RATES], panel(STANDARDISED))
