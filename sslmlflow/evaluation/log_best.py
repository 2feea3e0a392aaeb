"""The best value of each metric beside the last one, for the table of runs in the MLflow UI."""

import time

from mlflow import MlflowClient
from mlflow.entities import Metric

from sslmlflow.metrics.catalogue import CATALOGUE, TABLED
from sslmlflow.tracking.stored import milestones_of_runs
from sslmlflow.tracking.values import measuring_runs, ways_of


def log_best(client: MlflowClient, run_id: str) -> None:
    """Log `best/<metric>` and `best/<metric>_epoch` for what was measured on the milestones that a run has.

    Best is the lowest value of what is to be low, else the highest; of equal ones the earliest. The step is always 0,
    so that the UI draws one bar a run. Only what changed is logged: at one step MLflow shows the value logged last.
    """
    training = client.get_run(run_id)
    (((_, milestones),),) = milestones_of_runs(client, [training])
    if not milestones:
        return
    run = training.data
    ways = ways_of(milestones, measuring_runs(client, milestones, [training]), run.params)
    metrics = []
    for key in TABLED:
        metric = CATALOGUE[key]
        if key in ways and metric.directed:
            values = ways[key].values
            best = min(values.values()) if metric.lower_is_better else max(values.values())
            epoch = min(epoch for epoch, value in values.items() if value == best)
            metrics += [(f"best/{key}", best), (f"best/{key}_epoch", float(epoch))]
    now = time.time_ns() // 1_000_000
    points = [Metric(key, value, now, 0) for key, value in metrics if run.metrics.get(key) != value]
    if points:
        client.log_batch(run_id, metrics=points)
