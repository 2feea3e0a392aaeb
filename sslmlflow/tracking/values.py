"""The metrics of milestones, whichever runs measured them."""

from collections import defaultdict
from collections.abc import Sequence

from mlflow import MlflowClient
from mlflow.entities import LoggedModel

from sslmlflow.tracking.milestones import epoch_of


def values_of(client: MlflowClient, milestones: Sequence[LoggedModel]) -> dict[str, dict[int, float]]:
    """The metrics of one training's milestones: values by epoch, by metric name.

    A metric may have been measured in several ways (images, labels, settings: its data set's digest), whose values
    are not to be compared. The way that covers most milestones is meant, of equals the one measured last.
    """
    ways: dict[str, dict[str | None, dict[int, tuple[int, float]]]] = defaultdict(lambda: defaultdict(dict))
    started: dict[str | None, int] = {}
    for model in milestones:
        for metric in model.metrics or []:
            if metric.run_id not in started:
                started[metric.run_id] = client.get_run(str(metric.run_id)).info.start_time
            moment = started[metric.run_id]
            way = ways[metric.key][metric.dataset_digest]
            way[epoch_of(model)] = max(way.get(epoch_of(model), (0, 0.0)), (moment, metric.value))
    return {key: _best_covered(of_key) for key, of_key in ways.items()}


def _best_covered(ways: dict[str | None, dict[int, tuple[int, float]]]) -> dict[int, float]:
    """Prefer coverage, then the latest measurement."""
    best = max(ways.values(), key=lambda way: (len(way), max(moment for moment, _ in way.values())))
    return {epoch: best[epoch][1] for epoch in sorted(best)}
