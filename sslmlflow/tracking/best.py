"""The best value of each metric beside the last one, for the table of runs in the MLflow UI."""

from mlflow import MlflowClient
from mlflow.entities import Metric

from sslmlflow.tracking.milestones import milestones_of_run
from sslmlflow.tracking.values import values_of

HIGHER = (
    "label_free/crr",
    "label_free/crr_pooled",
    "label_free/crr_adjusted",
    "label_free/rankme",
    "label_free/cluster_agreement",
    "label_free/silhouette",
    "labelled/linear_probe",
    "labelled/linear_probe_standardised",
    "labelled/knn",
    "labelled/ami_clusters_truth",
    "labelled/silhouette_truth",
)
LOWER = ("label_free/entropy", "label_free/entropy_robust")


def log_best(client: MlflowClient, run_id: str) -> None:
    """Log `best/<metric>` and `best/<metric>_epoch` for what was measured on the milestones of a run so far.

    Best is the highest value, of entropies the lowest; of equal ones the earliest. The step is the last milestone's.
    """
    milestones = milestones_of_run(client, run_id)
    if not milestones:
        return
    values, last = values_of(client, milestones), milestones[-1]
    metrics = []
    for sign, keys in ((1, HIGHER), (-1, LOWER)):
        for key in keys:
            if key in values:
                _, earliest = max((sign * value, -epoch) for epoch, value in values[key].items())
                metrics += [(f"best/{key}", values[key][-earliest]), (f"best/{key}_epoch", -float(earliest))]
    moment, step = last.creation_timestamp, int((last.params or {})["epoch"])
    client.log_batch(run_id, metrics=[Metric(key, value, moment, step) for key, value in metrics])
