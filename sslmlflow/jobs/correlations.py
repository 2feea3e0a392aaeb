"""How far each metric goes with the accuracy of a probe, over the milestones of trainings (the paper's Table I)."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from sslmlflow.jobs.course import Course
from sslmlflow.measures import MEASURES
from sslmlflow.metrics.correlation import Correlation, pearson

SIGNIFICANT = 0.05
INIT = {True: "with init", False: "without init"}


@dataclass(frozen=True)
class Cell:
    """Pearson's r of one metric and one probe over the milestones of one training."""

    metric: str
    probe: str
    course: Course
    with_init: bool
    correlation: Correlation
    lowest: float  # the range of the probe: where it hardly moves, r says nothing
    highest: float


def correlations(courses: Sequence[Course], probe: str) -> list[Cell]:
    """Every metric with `probe` in every training that has both on one data set, with and without initialisation."""
    cells = []
    for course in courses:
        if not course.has(probe):
            continue
        for key, measure in MEASURES.items():
            if not course.has(key) or measure.accuracy or course.dataset_of(key) != course.dataset_of(probe):
                continue
            for with_init in INIT:
                start = 0 if with_init else int(course.epochs[0] == 0)
                accuracies = course.column(probe)[start:]
                known = [value for value in accuracies if value is not None]
                if known:
                    r = pearson(course.column(key)[start:], accuracies)
                    cells.append(Cell(key, probe, course, with_init, r, min(known), max(known)))
    return cells


def as_csv(cells: Sequence[Cell]) -> str:
    """One line a cell, at full precision; r and p are empty where they are undefined."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(["run", "run_id", "metric", "probe", "init", "r", "p", "n", "probe_min", "probe_max", "undefined"])
    for cell in cells:
        r = cell.correlation
        what = cell.course.name, cell.course.run_id, cell.metric, cell.probe, INIT[cell.with_init]
        found = ("", "") if r.reason else (repr(r.r), repr(r.p))
        out.writerow([*what, *found, r.n, repr(cell.lowest), repr(cell.highest), r.reason or ""])
    return text.getvalue()


def as_markdown(cells: Sequence[Cell]) -> str:
    """Metrics in rows, trainings in columns; a star marks p < 0.05. The last row is the range of the probe."""
    columns = list(dict.fromkeys((cell.course.run_id, cell.with_init) for cell in cells))
    names = {cell.course.run_id: cell.course.name.replace("|", r"\|") for cell in cells}
    by_place = {(cell.metric, cell.course.run_id, cell.with_init): cell for cell in cells}
    head = [f"{names[run_id]}, {INIT[with_init]}" for run_id, with_init in columns]
    lines = [["Pearson's r with the " + MEASURES[cells[0].probe].name, *head], ["---", *["---:"] * len(columns)]]
    for key in dict.fromkeys(cell.metric for cell in cells):
        lines.append([MEASURES[key].name, *(_told(by_place.get((key, *column))) for column in columns)])
    ranges = {(cell.course.run_id, cell.with_init): f"{cell.lowest:.1%} to {cell.highest:.1%}" for cell in cells}
    lines.append(["range of the probe", *(ranges[column] for column in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _told(cell: Cell | None) -> str:
    if cell is None or cell.correlation.reason:
        return "–"
    return f"{cell.correlation.r:.2f}{'*' if cell.correlation.p < SIGNIFICANT else ''}"
