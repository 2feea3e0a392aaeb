"""Seconds of accuracies and coding rate reduction: medians found by hand, and who embeds images of its own."""

from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric

from sslmlflow.metrics.catalogue import CRR, KNN, PROBE, STANDARDISED
from sslmlflow.reporting.cost import HELD_OUT, TRAIN, VIEWS, augmenting_probes, median_seconds, seconds_table
from sslmlflow.reporting.history import History, history_of
from tests.conftest import NewDatabase
from tests.reporting.histories import made_history

COLUMNS = {
    PROBE: [0.1, 0.2, 0.3, None],
    "time/linear_probe_s": [100.0, 300.4, 200.0, 0.01],  # the last diverged at once: not the seconds of a probe
    STANDARDISED: [0.1, 0.2, 0.3, 0.4],
    "time/linear_probe_standardised_s": [1.0, 4.0, 2.0, 3.0],
    KNN: [0.1, 0.2, 0.3, 0.4],
    "time/knn_s": [0.5, 0.25, 0.5, 0.5],
    TRAIN: [10.0, 20.0, 30.0, 40.0],
    HELD_OUT: [1.0, 2.0, 3.0, 4.0],
    CRR: [1.0, 2.0, None, 3.0],
    "time/crr_s": [0.01, 0.02, None, 0.0155],
    VIEWS: [1.0, 3.0, 9.0, 2.0],
}


def test_the_median_is_of_the_sums_by_milestone() -> None:
    assert median_seconds(made_history(COLUMNS), STANDARDISED, []) == 2.5
    assert median_seconds(made_history(COLUMNS), STANDARDISED, [TRAIN, HELD_OUT]) == 30.5  # of 12, 26, 35, 47


def test_the_table_says_seconds_alone_and_with_the_embeddings() -> None:
    assert seconds_table([made_history(COLUMNS)], set()).splitlines()[2:] == [
        "| simclr | linear probe | 200 | 233 |",  # of 111, 322.4, 233
        "| simclr | standardised probe | 2.5 | 30.5 |",
        "| simclr | 5-NN | 0.5 | 27.9 |",  # of 11.5, 22.25, 33.5, 44.5: 27.875
        "| simclr | pair CRR | 0.0155 | 2.02 |",  # of 1.01, 3.02, 2.0155
    ]


def test_a_probe_that_augments_is_not_said_to_embed_once() -> None:
    lines = seconds_table([made_history(COLUMNS)], {"run1"}).splitlines()
    assert lines[2] == "| simclr | linear probe † | – | 203 |"  # with the held-out images alone: 101, 302.4, 203
    assert lines[3] == "| simclr | standardised probe | 2.5 | 30.5 |"
    assert "probe=autoaugment" in lines[-1]


def test_what_was_not_timed_is_a_dash() -> None:
    older = {key: column for key, column in COLUMNS.items() if key != "time/crr_s"}
    assert seconds_table([made_history(older)], set()).splitlines()[-1] == "| simclr | pair CRR | – | – |"


def test_seconds_on_other_images_are_not_added() -> None:
    assert median_seconds(made_history(COLUMNS, elsewhere=[HELD_OUT]), KNN, [TRAIN, HELD_OUT]) is None


def test_without_accuracies_there_is_no_table() -> None:
    assert seconds_table([made_history({CRR: [1.0], "time/crr_s": [0.1], VIEWS: [1.0]})], set()) == ""


def test_the_run_that_measured_the_probe_says_whether_it_augmented(tmp_path: Path, new_database: NewDatabase) -> None:
    uri = new_database(tmp_path)
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri)
    experiment = client.create_experiment("seconds", artifact_location=str(tmp_path))

    def trained(**params: str) -> History:
        """A training with one milestone, and an evaluation of it with these parameters."""
        training, evaluation = (client.create_run(experiment).info.run_id for _ in range(2))
        model = client.create_logged_model(
            experiment, source_run_id=training, params={"epoch": "0"}, tags={"kind": "milestone"}
        )
        client.finalize_logged_model(model.model_id, "READY")
        for name, value in params.items():
            client.log_param(evaluation, name.replace("__", "/"), value)
        client.log_batch(evaluation, metrics=[Metric(PROBE, 0.5, 0, 0, model.model_id, "cifar10", "digest")])
        return history_of(client, training)

    augmented, plain = trained(probe="autoaugment"), trained(probe="plain")
    settled = trained(probe="auto", resolved__probe="autoaugment")  # what `main` made of its own default
    assert augmenting_probes(client, [augmented, plain, settled]) == {augmented.run_id, settled.run_id}
