"""What the accuracies of a milestone cost, beside its coding rate reduction.

Source: Qiang et al., "On the Generalization and Causal Explanation in Self-Supervised Learning", table 9.
"""

from collections.abc import Collection, Sequence
from statistics import median

from mlflow import MlflowClient

from sslmlflow.metrics.catalogue import ACCURACIES, CATALOGUE, CRR, KNN, PROBE, STANDARDISED
from sslmlflow.reporting.history import History
from sslmlflow.reporting.tables import markdown_table
from sslmlflow.tracking.stored import runs_by_id

TRAIN, HELD_OUT, VIEWS = "time/embed_train_s", "time/embed_held_out_s", "time/embed_views_s"
EMBEDDINGS = {PROBE: [TRAIN, HELD_OUT], STANDARDISED: [TRAIN, HELD_OUT], KNN: [TRAIN, HELD_OUT], CRR: [VIEWS]}
OWN_EMBEDDINGS = (
    "† with probe=autoaugment it embeds the augmented training images itself, anew in each epoch: not timed apart."
)


def seconds_table(histories: Sequence[History], augmenting: Collection[str]) -> str:
    """Seconds of each metric for a milestone, alone and with the embeddings that it needs: medians of the milestones.

    `augmenting` holds the run ids of the trainings whose linear probe embeds augmented images itself, so that nobody
    knows its seconds alone. Empty where there are no accuracies.
    """
    rows = []
    for history in [history for history in histories if any(map(history.has, ACCURACIES))]:
        for key, embeddings in EMBEDDINGS.items():
            name, alone = CATALOGUE[key].name, median_seconds(history, key, [])
            if key == PROBE and history.run_id in augmenting:
                name, alone, embeddings = f"{name} †", None, [HELD_OUT]
            rows.append([history.name, name, _told(alone), _told(median_seconds(history, key, embeddings))])
    if not rows:
        return ""
    head = ["training", "seconds for a milestone", "alone", "with the embeddings"]
    note = f"\n\n{OWN_EMBEDDINGS}" if augmenting else ""
    return markdown_table([head, *rows], words=2) + note


def median_seconds(history: History, key: str, embeddings: Sequence[str]) -> float | None:
    """Seconds of a metric and of the embeddings named, by milestone the sum, of all milestones the median.

    Only milestones that have the metric count, and only what was measured on one data set; None where that is nothing.
    """
    times = [f"time/{key.partition('/')[2]}_s", *embeddings]
    if not all(map(history.has, [key, *times])) or len(set(map(history.dataset_of, [key, *times]))) > 1:
        return None
    rows = zip(history.column(key), *map(history.column, times), strict=True)
    known = [[seconds for seconds in row if seconds is not None] for value, *row in rows if value is not None]
    sums = [sum(row) for row in known if len(row) == len(times)]
    return median(sums) if sums else None


def augmenting_probes(client: MlflowClient, histories: Sequence[History]) -> set[str]:
    """The run ids of the trainings whose linear probe was measured with probe=autoaugment."""
    # What `probe` was in one of the runs that measured it: all runs of one digest had the same.
    measured_by = {history.run_id: str(history.ways[PROBE].run_id) for history in histories if history.has(PROBE)}
    experiments = {model.experiment_id for history in histories for model in history.models}
    runs = runs_by_id(client, measured_by.values(), experiments)
    params = {run_id: runs[measuring].data.params for run_id, measuring in measured_by.items()}
    return {run_id for run_id, of in params.items() if of.get("resolved/probe", of.get("probe")) == "autoaugment"}


def _told(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return f"{seconds:.0f}" if seconds >= 100 else f"{seconds:.3g}"
