"""The metrics of milestones, whichever runs measured them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Metric

from sslmlflow.tracking.milestones import epoch_of


@dataclass
class Way:
    """Values by epoch that were measured alike: of one data set (and settings: its digest) by one or several runs."""

    dataset: str | None = None
    digest: str | None = None
    values: dict[int, float] = field(default_factory=dict)
    latest: int = 0  # when the last of these runs started, in milliseconds
    _moments: dict[int, int] = field(default_factory=dict)

    def add(self, epoch: int, metric: Metric, moment: int) -> None:
        """Keep a value; of two for one epoch, the later."""
        if moment >= self._moments.get(epoch, 0):
            self.values[epoch], self._moments[epoch] = metric.value, moment
            self.dataset, self.digest, self.latest = metric.dataset_name, metric.dataset_digest, moment


def ways_of(client: MlflowClient, milestones: Sequence[LoggedModel], dataset: str) -> dict[str, Way]:
    """How each metric of one training's milestones is to be read: its values by epoch, by metric name.

    A metric may have been measured in several ways, whose values are not to be compared. Meant is one on the training's
    own data set, then the one that covers most milestones, then the one measured last; two are never mixed.
    """
    ways: dict[str, dict[str | None, Way]] = defaultdict(lambda: defaultdict(Way))
    started: dict[str, int] = {}
    for model in milestones:
        for metric in model.metrics or []:
            run_id = str(metric.run_id)
            if run_id not in started:
                started[run_id] = client.get_run(run_id).info.start_time
            ways[metric.key][metric.dataset_digest].add(epoch_of(model), metric, started[run_id])
    return {
        key: max(of_key.values(), key=lambda way: (way.dataset in (None, dataset), len(way.values), way.latest))
        for key, of_key in ways.items()
    }
