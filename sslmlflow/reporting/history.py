"""The history of a training: the metrics of its milestones, read back from MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run

from sslmlflow.errors import UserError
from sslmlflow.texts import printable
from sslmlflow.tracking.server import run_of
from sslmlflow.tracking.stored import epoch_of, milestones_of_runs
from sslmlflow.tracking.values import Way, dataset_names, measuring_runs, ways_of


@dataclass(frozen=True)
class History:
    """A training's milestones by epoch, and how each of their metrics was measured."""

    run_id: str
    name: str
    dataset: str
    models: Sequence[LoggedModel]
    ways: dict[str, Way]
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, dict[int, float]]:
        """Values by epoch, by metric name."""
        return {key: way.values for key, way in self.ways.items()}

    @property
    def trained_on_rate(self) -> bool:
        """Whether it is a tuning by UMM, which raises the coding rate reduction itself."""
        return self.params.get("variant", "continuation") != "continuation" and _alpha(self.params) > 0

    @property
    def epochs(self) -> list[int]:
        """The epochs of the milestones, ascending."""
        return [epoch_of(model) for model in self.models]

    def column(self, key: str) -> list[float | None]:
        """A metric by milestone; None where it is undefined or was not measured."""
        values = self.ways[key].values if key in self.ways else {}
        return [values.get(epoch) for epoch in self.epochs]

    def dataset_of(self, key: str) -> str:
        """The data set that a metric was measured on; what is measured while training is on the training's own."""
        measured = self.ways[key].dataset
        return self.dataset if measured is None or measured in dataset_names(self.params) else measured

    def has(self, key: str) -> bool:
        """Whether a metric has a value for any milestone."""
        return key in self.ways


def history_of(client: MlflowClient, run_id: str) -> History:
    """Read what MLflow holds; UserError if the run has no milestones."""
    return histories_of(client, [run_of(client, run_id)])[0]


def histories_of(client: MlflowClient, runs: Sequence[Run], passing_over: bool = False) -> list[History]:
    """Read what MLflow holds of many runs, in their order; a run without milestones is a UserError or passed over."""
    histories = []
    for found in milestones_of_runs(client, runs):
        measuring = measuring_runs(client, [model for _, models in found for model in models], runs)
        histories += [_history(run, models, measuring) for run, models in found if models or not passing_over]
    return histories


def _history(run: Run, models: Sequence[LoggedModel], measuring: Mapping[str, Run]) -> History:
    run_id, params = run.info.run_id, run.data.params
    if not models:
        raise UserError(f"run {run_id} has no milestones. Name a run of pretrain or main.")
    name, dataset = printable(run.info.run_name or run_id), printable(dataset_names(params)[0])
    history = History(run_id, name, dataset, models, ways_of(models, measuring, params), params)
    for model in models:
        model.metrics = None  # the ways hold them: of thousands of milestones one copy is enough
    return history


def _alpha(params: Mapping[str, str]) -> float:
    """The weight of the coding rate reduction; one that cannot be read counts as some."""
    try:
        return float(params["alpha"])
    except (KeyError, ValueError):
        return 1.0
