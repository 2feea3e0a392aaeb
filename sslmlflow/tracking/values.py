"""The metrics of milestones, whichever runs measured them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Metric, Run

from sslmlflow.texts import folder_name
from sslmlflow.tracking.notes import note
from sslmlflow.tracking.stored import epoch_of, runs_by_id

LARGEST = 1e300  # MLflow keeps an infinite value as the largest number that there is


@dataclass
class Way:
    """Values by epoch that were measured alike: of one data set (and settings: its digest) by one or several runs."""

    dataset: str | None = None
    digest: str | None = None
    values: dict[int, float] = field(default_factory=dict)
    latest: int = 0  # when the last of these runs started, in milliseconds
    run_id: str | None = None  # one of the runs that measured them
    _moments: dict[int, int] = field(default_factory=dict)

    def add(self, epoch: int, metric: Metric, moment: int) -> None:
        """Keep a value; of two for one epoch, the later."""
        if moment >= self._moments.get(epoch, 0):
            self.values[epoch], self._moments[epoch] = metric.value, moment
            self.dataset, self.digest, self.run_id = metric.dataset_name, metric.dataset_digest, metric.run_id
        self.latest = max(self.latest, moment)


def dataset_names(params: Mapping[str, str]) -> list[str]:
    """The names that a training's own data set may have in MLflow, given the run's parameters; today's first.

    A folder appears under its own name; earlier builds named every folder "folder".
    """
    dataset = params.get("dataset", "")
    if dataset != "folder" or "resolved/data_dir" not in params:
        return [dataset]
    return [folder_name(params["resolved/data_dir"]), dataset]


def measuring_runs(
    client: MlflowClient, milestones: Sequence[LoggedModel], known: Iterable[Run] = ()
) -> dict[str, Run]:
    """The runs that measured any metric of these milestones, by id; those that are known are not fetched again."""
    runs = {run.info.run_id: run for run in known}
    ids = {str(metric.run_id): None for model in milestones for metric in model.metrics or []}
    missing = [run_id for run_id in ids if run_id not in runs]
    experiments = {model.experiment_id for model in milestones}
    return runs | runs_by_id(client, missing, experiments, passing_over=True)


def ways_of(milestones: Sequence[LoggedModel], runs: Mapping[str, Run], params: Mapping[str, str]) -> dict[str, Way]:
    """How each metric of one training's milestones is to be read: its values by epoch, by metric name.

    A metric may have been measured in several ways, whose values are not to be compared. Meant is one on the training's
    own data set, then the one that covers most milestones, then the one measured last; two are never mixed. What runs
    measured that were deleted since does not count. `runs` are those of `measuring_runs`.
    """
    own = {None, *dataset_names(params)}
    ways: dict[str, dict[str | None, Way]] = defaultdict(lambda: defaultdict(Way))
    for model in milestones:
        for metric in model.metrics or []:
            run = runs.get(str(metric.run_id))
            if run is None or run.info.lifecycle_stage == "deleted":
                continue
            if abs(metric.value) > LARGEST:
                note(f"{metric.key} of milestone {model.model_id} is not finite in run {metric.run_id}: it is left out")
                continue
            moment = run.info.start_time or 0
            ways[metric.key][metric.dataset_digest].add(epoch_of(model), metric, moment)
    return {
        key: max(of_key.values(), key=lambda way: (way.dataset in own, len(way.values), way.latest))
        for key, of_key in ways.items()
    }
