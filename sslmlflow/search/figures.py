"""Figures of a study as Optuna draws them: history, importances, contour over (alpha, beta), parallel coordinates."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import optuna
from matplotlib.ticker import NullFormatter
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.visualization import matplotlib as plots

from sslmlflow.metrics.catalogue import CATALOGUE
from sslmlflow.search.pruning import sound
from sslmlflow.tracking.run import TrackedRun


def log_figures(
    leading: TrackedRun, trials: Sequence[FrozenTrial], names: Sequence[str], key: str, untuned: float
) -> None:
    """Keep the figures of the trials, which are numbered by their seats, in the leading run."""
    values = {trial.value for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE}
    if len(values) < 2:
        print("no figures: fewer than two different values")
        return
    metric = CATALOGUE[key]
    study = _study_of(trials, metric.lower_is_better)
    drawn: dict[str, Callable[[], Any]] = {
        "history": lambda: _history(study, metric.name, untuned),
        "importance": lambda: plots.plot_param_importances(study, target_name=metric.name),
        "contour": lambda: _contour(study, metric.name),
        "parallel_coordinates": lambda: plots.plot_parallel_coordinate(
            study, params=list(names), target_name=metric.name
        ),
    }
    # Its logarithmic axes have powers in mathematics, which our own figures leave off.
    with warnings.catch_warnings(), matplotlib.rc_context({"text.parse_math": True}):
        warnings.simplefilter("ignore", ExperimentalWarning)
        for name, draw in drawn.items():
            axis = draw()
            axis.set_title("")  # lies on the legend
            for drawn_axis in axis.figure.axes:
                drawn_axis.yaxis.set_minor_formatter(NullFormatter())  # labels of minor ticks lie on one another
            leading.client.log_figure(
                leading.run_id, axis.figure, f"figures/{name}.png", save_kwargs={"bbox_inches": "tight"}
            )
            plt.close(axis.figure)


def _study_of(trials: Sequence[FrozenTrial], minimise: bool) -> optuna.Study:
    """A study of the last attempts alone: figures number the trials as tables do."""
    study = optuna.create_study(direction=StudyDirection.MINIMIZE if minimise else StudyDirection.MAXIMIZE)
    study.add_trials(trials)
    return study


def _history(study: optuna.Study, name: str, untuned: float) -> Any:
    axis: Any = plots.plot_optimization_history(study, target_name=name)
    axis.axhline(untuned, color="black", linestyle="--", linewidth=1, label="Untuned")
    axis.legend()
    return axis


def _contour(study: optuna.Study, name: str) -> Any:
    axis: Any = plots.plot_contour(study, params=["alpha", "beta"], target_name=name)
    beyond = [trial.params for trial in study.trials if trial.state.is_finished() and not sound(trial)]
    if beyond:
        at = [params["alpha"] for params in beyond], [params["beta"] for params in beyond]
        axis.scatter(*at, marker="x", color="crimson", zorder=5, label="beyond a limit")
        axis.legend(loc="upper left", bbox_to_anchor=(0, 1.1), frameon=False)
    return axis
