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
from sslmlflow.metrics.catalogue import (
    CATALOGUE,
    ENTROPY,
    LABEL_FREE,
    OUTLIERS,
    PROBE,
    ROBUST_ENTROPY,
    STANDARDISED,
    TABLED,
)
from sslmlflow.metrics.correlation import rank_agreement
from sslmlflow.reporting.comparison import SIGNIFICANT, STAR
from sslmlflow.reporting.correlations import INIT, Cell, significance
from sslmlflow.reporting.history import History
from sslmlflow.reporting.overfitting import overfitting_panels
from sslmlflow.texts import printable
from sslmlflow.tracking.stored import CLUSTERED, SPECTRA_FILE, epoch_of


def report_figures(
    client: MlflowClient, histories: Sequence[History], cells: Mapping[str, Sequence[Cell]]
) -> Iterator[tuple[str, Figure]]:
    """Figures by name; those that need labels only where there are any."""
    probe = next((key for key in (PROBE, STANDARDISED) if any(history.has(key) for history in histories)), None)
    overlaid = Panel(CATALOGUE[probe].name, _series(histories, probe)) if probe else None
    keys = [key for key in TABLED if not CATALOGUE[key].accuracy and any(history.has(key) for history in histories)]
    if keys:
        yield "metrics", curves_figure([_panel(histories, key) for key in keys], overlaid)
    entropies = [key for key in (ENTROPY, ROBUST_ENTROPY) if key in keys]
    if entropies:
        yield "entropy", curves_figure([_panel(histories, key, mark=True) for key in entropies], overlaid)
    for key, found in cells.items():
        if found:
            yield f"correlations_{key.removeprefix('labelled/')}", _heatmap(found)
    for history in histories:
        suffix = "" if len(histories) == 1 else f"_{history.run_id[:8]}"
        if any(history.has(key) for key in LABEL_FREE):
            yield f"agreement{suffix}", _agreement(history)
        if panels := overfitting_panels(history):
            yield f"overfitting{suffix}", overfitting_figure(panels)
        if spectra := _spectra(client, history):
            yield f"spectra{suffix}", spectra_figure(spectra)


def _panel(histories: Sequence[History], key: str, mark: bool = False) -> Panel:
    return Panel(CATALOGUE[key].name, _series(histories, key, mark))


def _series(histories: Sequence[History], key: str, mark: bool = False) -> list[Series]:
    """A metric's curves, with its interval where there is one; `mark` marks milestones with outlying images."""
    series = []
    for history in histories:
        values = history.column(key)
        low, high = (
            history.column(f"{key}_{bound}") if history.has(f"{key}_low") else None for bound in ("low", "high")
        )
        outlying = [bool(count) for count in history.column(OUTLIERS)] if mark else None
        series.append(Series(history.name, history.epochs, values, low, high, outlying))
    return series


def _heatmap(cells: Sequence[Cell]) -> Figure:
    rows = list(dict.fromkeys(cell.metric for cell in cells))
    columns = list(dict.fromkeys((cell.history.name, cell.with_init) for cell in cells))
    r = np.full((len(rows), len(columns)), np.nan)
    significant = np.zeros(r.shape, dtype=bool)
    for cell, p in zip(cells, significance(cells), strict=True):
        place = rows.index(cell.metric), columns.index((cell.history.name, cell.with_init))
        r[place] = cell.compared.correlation.r
        significant[place] = p < SIGNIFICANT
    return correlation_figure(
        [CATALOGUE[row].name for row in rows],
        [f"{name},\n{INIT[with_init]}" for name, with_init in columns],
        r,
        significant,
        f"Pearson's r with the {CATALOGUE[cells[0].probe].name}\n{STAR}",
    )


def _agreement(history: History) -> Figure:
    """Spearman's rho between the label-free metrics over the milestones, those that are to be low taken negative."""
    keys = [key for key in LABEL_FREE if history.has(key)]
    columns = {key: _signed(history, key) for key in keys}
    r = np.eye(len(keys))
    for (a, b), rho in rank_agreement(columns).items():
        i, j = keys.index(a), keys.index(b)
        r[i, j] = r[j, i] = rho
    names = [CATALOGUE[key].name for key in keys]
    title = "Spearman's rho over the milestones; what is to be low taken negative"
    return correlation_figure(names, names, r, np.zeros(r.shape, dtype=bool), title)


def _signed(history: History, key: str) -> list[float | None]:
    sign = -1.0 if CATALOGUE[key].lower_is_better else 1.0
    return [None if value is None else sign * value for value in history.column(key)]


def _spectra(client: MlflowClient, history: History) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Singular values by part of the network and epoch, from whichever run measured each milestone."""
    spectra: dict[str, dict[str, NDArray[np.float64]]] = {}
    for model in history.models:
        for part, values in _kept_spectra(client, history, model).items():
            spectra.setdefault(part, {})[f"epoch {epoch_of(model)}"] = np.array(values)
    return spectra


def _kept_spectra(client: MlflowClient, history: History, model: LoggedModel) -> dict[str, list[float]]:
    """The spectra of the evaluation that the entropies are of; none where its run is gone."""
    digest = history.ways[ENTROPY].digest if history.has(ENTROPY) else None
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
