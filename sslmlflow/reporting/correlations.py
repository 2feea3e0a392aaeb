"""How far each metric goes with the accuracy of a probe, over the milestones of trainings (the paper's Table I)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from sslmlflow.metrics.catalogue import CATALOGUE, OBJECTIVES, TABLED, lower_is_better
from sslmlflow.metrics.correlation import (
    Correlation,
    lost_at_random,
    lost_by_the_last,
    partial_correlation,
    pearson,
)
from sslmlflow.reporting.comparison import COLUMNS, STAR, Compared, corrected_p, points
from sslmlflow.reporting.history import History
from sslmlflow.reporting.tables import markdown_table
from sslmlflow.texts import as_csv

INIT = {True: "with init", False: "without init"}


@dataclass(frozen=True)
class Cell:
    """One metric and one probe over the milestones of one training."""

    metric: str
    probe: str
    history: History
    with_init: bool
    compared: Compared

    @property
    def epochs(self) -> list[int]:
        """The epochs of the compared milestones."""
        return self.history.epochs[-len(self.compared.values) :]

    @cached_property
    def given_epoch(self) -> Correlation:
        """What the metric knows of the accuracy beyond the epoch."""
        return partial_correlation(self.compared.values, self.compared.accuracies, self.epochs)

    @property
    def of_epoch(self) -> str:
        """Pearson's r of the number of the epoch, as tables write it: what any metric has to beat."""
        found = pearson(self.epochs, self.compared.accuracies)
        return "–" if found.reason else f"{found.r:.2f}"

    @property
    def beyond_epoch(self) -> str:
        """r given the epoch, as tables write it."""
        return "–" if self.given_epoch.reason else f"{self.given_epoch.r:.2f}"


def correlations(histories: Sequence[History], probe: str) -> list[Cell]:
    """Every metric with `probe` in every training that has both on one data set, with and without initialisation."""
    cells = []
    for history in histories:
        for key in TABLED:
            if not CATALOGUE[key].accuracy:
                found = (correlation(history, key, probe, with_init) for with_init in INIT)
                cells += [cell for cell in found if cell]
    return cells


def correlation(history: History, metric: str, probe: str, with_init: bool = True) -> Cell | None:
    """One metric with one probe; None where a training does not have both on one data set."""
    if not (history.has(metric) and history.has(probe) and history.dataset_of(metric) == history.dataset_of(probe)):
        return None
    start = 0 if with_init else int(history.epochs[0] == 0)
    accuracies = history.column(probe)[start:]
    if all(value is None for value in accuracies):
        return None
    compared = Compared(history.column(metric)[start:], accuracies, lower_is_better(metric))
    return Cell(metric, probe, history, with_init, compared)


def significance(cells: Sequence[Cell]) -> list[float]:
    """The p-values of the cells of one table, corrected for how many they are."""
    return corrected_p(cell.compared for cell in cells)


def correlations_csv(tables: Sequence[Sequence[Cell]]) -> str:
    """One line a cell, at full precision, p corrected for all cells of its table; empty where undefined."""
    rows = [
        [
            *(cell.history.name, cell.history.run_id, cell.metric, cell.probe, INIT[cell.with_init]),
            *cell.compared.line(p),
            *("" if cell.given_epoch.reason else repr(value) for value in cell.given_epoch[:2]),
        ]
        for cells in tables
        for cell, p in zip(cells, significance(cells), strict=True)
    ]
    return as_csv([["run", "run_id", "metric", "probe", "init", *COLUMNS, "r_given_epoch", "p_given_epoch"], *rows])


def as_markdown(cells: Sequence[Cell]) -> str:
    """Metrics in rows, trainings in columns; a star marks corrected p < 0.05.

    Below the metrics stand what any of them has to beat, the number of the epoch, and the range of the probe. Then r
    given the epoch, and what choosing a milestone by each metric loses, with the initialisation among them.
    """
    columns = list(dict.fromkeys((cell.history.run_id, cell.with_init) for cell in cells))
    names = {cell.history.run_id: cell.history.name for cell in cells}
    told = {
        (cell.metric, cell.history.run_id, cell.with_init): cell.compared.formatted(p)
        for cell, p in zip(cells, significance(cells), strict=True)
    }
    head = [f"{names[run_id]}, {INIT[with_init]}" for run_id, with_init in columns]
    lines = [["Pearson's r with the " + CATALOGUE[cells[0].probe].name, *head]]
    for key in dict.fromkeys(cell.metric for cell in cells):
        lines.append([CATALOGUE[key].name, *(told.get((key, *column), "–") for column in columns)])
    below: dict[str, Callable[[Cell], str]] = {
        "epoch number (baseline)": lambda cell: cell.of_epoch,
        "range of the probe": lambda cell: cell.compared.range,
        "milestones": lambda cell: str(len(cell.compared.values)),
    }
    for name, number in below.items():
        by_column = {(cell.history.run_id, cell.with_init): number(cell) for cell in cells}
        lines.append([name, *(by_column[column] for column in columns)])
    stars = f"\n\n\\{STAR}" if any("*" in cell for cell in told.values()) else ""
    return f"{markdown_table(lines, words=1)}{stars}\n\n{_given_epoch(cells, head, columns)}\n\n{_regrets(cells)}"


def _given_epoch(cells: Sequence[Cell], head: Sequence[str], columns: Sequence[tuple[str, bool]]) -> str:
    lines = [[f"r with the {CATALOGUE[cells[0].probe].name} given the epoch", *head]]
    found = {(cell.metric, cell.history.run_id, cell.with_init): cell.beyond_epoch for cell in cells}
    for key in dict.fromkeys(cell.metric for cell in cells):
        lines.append([CATALOGUE[key].name, *(found.get((key, *column), "–") for column in columns)])
    return markdown_table(lines, words=1)


def _regrets(cells: Sequence[Cell]) -> str:
    chosen = [cell for cell in cells if cell.with_init]
    names = {cell.history.run_id: cell.history.name for cell in chosen}
    rows = [[f"points of the {CATALOGUE[cells[0].probe].name} lost by choosing by it", *names.values()]]
    by_place = {(cell.metric, cell.history.run_id): cell.compared.regret for cell in chosen}
    for key in dict.fromkeys(cell.metric for cell in chosen if cell.metric in OBJECTIVES):  # labels choose nothing
        lost = (by_place.get((key, run_id)) for run_id in names)
        rows.append([CATALOGUE[key].best, *map(points, lost)])
    of = {cell.history.run_id: cell.compared.accuracies for cell in chosen}
    baselines = {"the last milestone (baseline)": lost_by_the_last, "a random milestone, on average": lost_at_random}
    for name, choice in baselines.items():
        rows.append([name, *(points(choice(of[run_id])) for run_id in names)])
    return markdown_table(rows, words=1)
