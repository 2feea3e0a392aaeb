"""The figures of a report, from what MLflow holds of the trainings."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray

from sslmlflow.figures.curves import Panel, Series, curves_figure
from sslmlflow.figures.heatmap import correlation_figure
from sslmlflow.figures.overfitting import overfitting_figure
from sslmlflow.figures.spectra import spectra_figure
from sslmlflow.metrics.catalogue import ENTROPY, MEASURES, OUTLIERS, PROBE, ROBUST_ENTROPY, STANDARDISED
from sslmlflow.metrics.correlation import rank_agreement
from sslmlflow.reporting.comparison import SIGNIFICANT, STAR
from sslmlflow.reporting.correlations import INIT, Cell, significance
from sslmlflow.reporting.history import Course
from sslmlflow.reporting.overfitting import overfitting_panels
from sslmlflow.texts import printable
from sslmlflow.tracking.stored import CLUSTERED, SPECTRA_FILE, epoch_of

LABEL_FREE = [key for key in MEASURES if key.startswith("label_free/")]


def report_figures(
    client: MlflowClient, courses: Sequence[Course], cells: Mapping[str, Sequence[Cell]]
) -> Iterator[tuple[str, Figure]]:
    """Figures by name; those that need labels only where there are any."""
    probe = next((key for key in (PROBE, STANDARDISED) if any(course.has(key) for course in courses)), None)
    overlaid = Panel(MEASURES[probe].name, _series(courses, probe)) if probe else None
    keys = [key for key in MEASURES if not MEASURES[key].accuracy and any(course.has(key) for course in courses)]
    if keys:
        yield "metrics", curves_figure([_panel(courses, key) for key in keys], overlaid)
    entropies = [key for key in (ENTROPY, ROBUST_ENTROPY) if key in keys]
    if entropies:
        yield "entropy", curves_figure([_panel(courses, key, mark=True) for key in entropies], overlaid)
    for key, found in cells.items():
        if found:
            yield f"correlations_{key.removeprefix('labelled/')}", _heatmap(found)
    for course in courses:
        suffix = "" if len(courses) == 1 else f"_{course.run_id[:8]}"
        if any(course.has(key) for key in LABEL_FREE):
            yield f"agreement{suffix}", _agreement(course)
        if panels := overfitting_panels(course):
            yield f"overfitting{suffix}", overfitting_figure(panels)
        if spectra := _spectra(client, course):
            yield f"spectra{suffix}", spectra_figure(spectra)


def _panel(courses: Sequence[Course], key: str, mark: bool = False) -> Panel:
    return Panel(MEASURES[key].name, _series(courses, key, mark))


def _series(courses: Sequence[Course], key: str, mark: bool = False) -> list[Series]:
    """A metric's curves, with its interval where there is one; `mark` marks milestones with outlying images."""
    series = []
    for course in courses:
        values = course.column(key)
        low, high = (course.column(f"{key}_{bound}") if course.has(f"{key}_low") else None for bound in ("low", "high"))
        outlying = [bool(count) for count in course.column(OUTLIERS)] if mark else None
        series.append(Series(course.name, course.epochs, values, low, high, outlying))
    return series


def _heatmap(cells: Sequence[Cell]) -> Figure:
    rows = list(dict.fromkeys(cell.metric for cell in cells))
    columns = list(dict.fromkeys((cell.course.name, cell.with_init) for cell in cells))
    r = np.full((len(rows), len(columns)), np.nan)
    significant = np.zeros(r.shape, dtype=bool)
    for cell, p in zip(cells, significance(cells), strict=True):
        place = rows.index(cell.metric), columns.index((cell.course.name, cell.with_init))
        r[place] = cell.compared.correlation.r
        significant[place] = p < SIGNIFICANT
    return correlation_figure(
        [MEASURES[row].name for row in rows],
        [f"{name},\n{INIT[with_init]}" for name, with_init in columns],
        r,
        significant,
        f"Pearson's r with the {MEASURES[cells[0].probe].name}\n{STAR}",
    )


def _agreement(course: Course) -> Figure:
    """Spearman's rho between the label-free metrics over the milestones, those that are to be low taken negative."""
    keys = [key for key in LABEL_FREE if course.has(key)]
    columns = {key: _signed(course, key) for key in keys}
    r = np.eye(len(keys))
    for (a, b), rho in rank_agreement(columns).items():
        i, j = keys.index(a), keys.index(b)
        r[i, j] = r[j, i] = rho
    names = [MEASURES[key].name for key in keys]
    title = "Spearman's rho over the milestones; what is to be low taken negative"
    return correlation_figure(names, names, r, np.zeros(r.shape, dtype=bool), title)


def _signed(course: Course, key: str) -> list[float | None]:
    sign = -1.0 if MEASURES[key].lower_is_better else 1.0
    return [None if value is None else sign * value for value in course.column(key)]


def _spectra(client: MlflowClient, course: Course) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Singular values by part of the network and epoch, from whichever run measured each milestone."""
    spectra: dict[str, dict[str, NDArray[np.float64]]] = {}
    for model in course.models:
        for part, values in _kept_spectra(client, course, model).items():
            spectra.setdefault(part, {})[f"epoch {epoch_of(model)}"] = np.array(values)
    return spectra


def _kept_spectra(client: MlflowClient, course: Course, model: LoggedModel) -> dict[str, list[float]]:
    """The spectra of the evaluation that the entropies are of; none where its run is gone."""
    digest = course.ways[ENTROPY].digest if course.has(ENTROPY) else None
    clustered = {tag.removeprefix(f"{CLUSTERED}."): run for tag, run in model.tags.items() if f"{CLUSTERED}." in tag}
    kept_in = {digests.split(".")[0]: run for digests, run in clustered.items()}
    if digest is None and kept_in:  # of a collapsed training, no entropy was ever measured
        digest = next(iter(kept_in))
    if digest not in kept_in:
        return {}
    file = SPECTRA_FILE.format(digest=digest, epoch=epoch_of(model))
    try:
        with TemporaryDirectory() as folder:
            path = download_artifacts(f"{client.get_run(kept_in[digest]).info.artifact_uri}/{file}", dst_path=folder)
            kept = json.loads(Path(path).read_text())
            return {str(part): [float(value) for value in values] for part, values in kept.items()}
    except (MlflowException, OSError, ValueError, TypeError, AttributeError) as error:
        print(f"no spectra of epoch {epoch_of(model)}: {printable(error)}")
        return {}
