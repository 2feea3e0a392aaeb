"""How far each metric goes with the accuracy of a probe, over the milestones of trainings (the paper's Table I)."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from sslmlflow.jobs.course import Course
from sslmlflow.jobs.tables import markdown_table
from sslmlflow.measures import MEASURES
from sslmlflow.metrics.correlation import (
    Correlation,
    bootstrap_interval,
    corrected,
    kendall,
    pearson,
    regret,
    spearman,
)

SIGNIFICANT = 0.05
INIT = {True: "with init", False: "without init"}


@dataclass(frozen=True)
class Cell:
    """One metric and one probe over the milestones of one training; `correlation` is Pearson's."""

    metric: str
    probe: str
    course: Course
    with_init: bool
    correlation: Correlation
    lowest: float  # the range of the probe: where it hardly moves, r says nothing
    highest: float
    metric_values: Sequence[float | None]
    accuracies: Sequence[float | None]

    @property
    def range(self) -> str:
        """From the lowest accuracy to the highest."""
        return f"{self.lowest:.1%} to {self.highest:.1%}"

    @property
    def regret(self) -> float | None:
        """The accuracy that choosing a milestone by the metric loses."""
        return regret(self.metric_values, self.accuracies, MEASURES[self.metric].lower_is_better)


def correlations(courses: Sequence[Course], probe: str) -> list[Cell]:
    """Every metric with `probe` in every training that has both on one data set, with and without initialisation."""
    cells = []
    for course in courses:
        for key, measure in MEASURES.items():
            if not measure.accuracy:
                found = (correlation(course, key, probe, with_init) for with_init in INIT)
                cells += [cell for cell in found if cell]
    return cells


def correlation(course: Course, metric: str, probe: str, with_init: bool = True) -> Cell | None:
    """One metric with one probe; None where a training does not have both on one data set."""
    if not (course.has(metric) and course.has(probe) and course.dataset_of(metric) == course.dataset_of(probe)):
        return None
    start = 0 if with_init else int(course.epochs[0] == 0)
    accuracies = course.column(probe)[start:]
    known = [value for value in accuracies if value is not None]
    if not known:
        return None
    values = course.column(metric)[start:]
    return Cell(
        metric, probe, course, with_init, pearson(values, accuracies), min(known), max(known), values, accuracies
    )


COLUMNS = (
    *("run", "run_id", "metric", "probe", "init", "r", "p", "p_corrected", "low", "high"),
    *("rho", "rho_p", "tau", "tau_p", "n", "regret", "probe_min", "probe_max", "undefined"),
)


def as_csv(cells: Sequence[Cell]) -> str:
    """One line a cell, at full precision, p corrected for all lines; empty where something is undefined."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(COLUMNS)
    for cell, p in zip(cells, corrected([cell.correlation.p for cell in cells]), strict=True):
        r = cell.correlation
        pairs = cell.metric_values, cell.accuracies
        rho, tau = spearman(*pairs), kendall(*pairs)
        found = r.r, r.p, p, *bootstrap_interval(*pairs), rho.r, rho.p, tau.r, tau.p
        what = cell.course.name, cell.course.run_id, cell.metric, cell.probe, INIT[cell.with_init]
        lost = "" if cell.regret is None else repr(cell.regret)
        numbers = [repr(value) if isfinite(value) else "" for value in found]
        out.writerow([*what, *numbers, r.n, lost, repr(cell.lowest), repr(cell.highest), r.reason or ""])
    return text.getvalue()


def as_markdown(cells: Sequence[Cell]) -> str:
    """Metrics in rows, trainings in columns; a star marks p < 0.05, the last row is the range of the probe.

    Below, what choosing a milestone by each metric loses, with the initialisation among them.
    """
    columns = list(dict.fromkeys((cell.course.run_id, cell.with_init) for cell in cells))
    names = {cell.course.run_id: cell.course.name for cell in cells}
    by_place = {(cell.metric, cell.course.run_id, cell.with_init): cell for cell in cells}
    head = [f"{names[run_id]}, {INIT[with_init]}" for run_id, with_init in columns]
    lines = [["Pearson's r with the " + MEASURES[cells[0].probe].name, *head]]
    for key in dict.fromkeys(cell.metric for cell in cells):
        lines.append([MEASURES[key].name, *(told(by_place.get((key, *column))) for column in columns)])
    ranges = {(cell.course.run_id, cell.with_init): cell.range for cell in cells}
    lines.append(["range of the probe", *(ranges[column] for column in columns)])
    return f"{markdown_table(lines, words=1)}\n\n{_regrets(cells)}"


def _regrets(cells: Sequence[Cell]) -> str:
    chosen = [cell for cell in cells if cell.with_init]
    names = {cell.course.run_id: cell.course.name for cell in chosen}
    rows = [[f"points of the {MEASURES[cells[0].probe].name} lost by choosing by it", *names.values()]]
    by_place = {(cell.metric, cell.course.run_id): cell.regret for cell in chosen}
    for key in dict.fromkeys(cell.metric for cell in chosen):
        name = f"lowest {MEASURES[key].name}" if MEASURES[key].lower_is_better else f"highest {MEASURES[key].name}"
        lost = (by_place.get((key, run_id)) for run_id in names)
        rows.append([name, *("–" if value is None else f"{100 * value:.1f}" for value in lost)])
    return markdown_table(rows, words=1)


def told(cell: Cell | None) -> str:
    """Pearson's r as tables write it: a star marks p < 0.05, a dash what is undefined."""
    if cell is None or cell.correlation.reason:
        return "–"
    return f"{cell.correlation.r:.2f}{'*' if cell.correlation.p < SIGNIFICANT else ''}"
