"""What the table of runs shows as best, and which of several measurements it is taken from."""

from collections.abc import Callable

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from sslmlflow.evaluation.log_best import log_best
from sslmlflow.tracking.stored import milestones_of_run
from sslmlflow.tracking.values import Way, measuring_runs, ways_of
from tests.conftest import NewDatabase

ENTROPY, KNN = "label_free/entropy", "labelled/knn"
Measure = Callable[[int, str, float, str, str], None]


@pytest.fixture(scope="module")
def client(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    uri = new_database(tmp_path_factory.mktemp("best"))
    mlflow.set_tracking_uri(uri)
    return MlflowClient(uri)


@pytest.fixture
def run_id(client: MlflowClient) -> str:
    """A training on digit-scenes with milestones at epochs 0, 2 and 4."""
    run_id = str(client.create_run("0", start_time=1).info.run_id)
    client.log_param(run_id, "dataset", "digit-scenes")
    for epoch in (0, 2, 4):
        model = client.create_logged_model(
            "0", source_run_id=run_id, params={"epoch": str(epoch)}, tags={"kind": "milestone"}
        )
        client.finalize_logged_model(model.model_id, "READY")
    return run_id


@pytest.fixture
def measure(client: MlflowClient, run_id: str) -> Measure:
    """Log a metric of the milestone of an epoch, as an evaluation of that name does."""
    evaluations: dict[str, str] = {}

    def measure(epoch: int, key: str, value: float, evaluation: str, dataset: str = "digit-scenes") -> None:
        if evaluation not in evaluations:
            evaluations[evaluation] = client.create_run("0", start_time=10 + len(evaluations)).info.run_id
        (model,) = (m for m in milestones_of_run(client, run_id) if m.params["epoch"] == str(epoch))
        metric = Metric(key, value, 0, epoch, model.model_id, dataset, f"digest of {evaluation}")
        client.log_batch(evaluations[evaluation], metrics=[metric])

    return measure


def best(client: MlflowClient, run_id: str, key: str) -> tuple[float, float]:
    log_best(client, run_id)
    shown = client.get_run(run_id).data.metrics
    return shown[f"best/{key}"], shown[f"best/{key}_epoch"]


def knn(client: MlflowClient, run_id: str) -> Way:
    """How the report reads 5-NN of this training."""
    milestones = milestones_of_run(client, run_id)
    return ways_of(milestones, measuring_runs(client, milestones), {"dataset": "digit-scenes"})[KNN]


def test_best_follows_what_is_measured_milestone_by_milestone(
    client: MlflowClient, run_id: str, measure: Measure
) -> None:
    for epoch, entropy in ((0, 5.0), (2, 4.0), (4, 3.0)):
        measure(epoch, ENTROPY, entropy, "first", "digit-scenes")
        assert best(client, run_id, ENTROPY) == (entropy, epoch), "of entropies the lowest"


def test_of_equal_values_the_earliest_is_best_in_whatever_order_they_come(
    client: MlflowClient, run_id: str, measure: Measure
) -> None:
    for epoch in (4, 2, 0):
        measure(epoch, KNN, 0.5, "first", "digit-scenes")
        assert best(client, run_id, KNN) == (0.5, epoch)


def test_best_can_fall_when_all_is_measured_anew(client: MlflowClient, run_id: str, measure: Measure) -> None:
    for epoch, first, second in ((0, 0.9, 0.3), (2, 0.8, 0.4), (4, 0.7, 0.2)):
        measure(epoch, KNN, first, "first", "digit-scenes")
        measure(epoch, KNN, second, "second", "digit-scenes")
    assert best(client, run_id, KNN) == (0.4, 2)


def test_nothing_is_said_twice(client: MlflowClient, run_id: str, measure: Measure) -> None:
    measure(0, KNN, 0.5, "first", "digit-scenes")
    for _ in range(3):
        log_best(client, run_id)
    assert len(client.get_metric_history(run_id, f"best/{KNN}")) == 1


def test_the_own_data_set_counts_more_than_a_later_one(client: MlflowClient, run_id: str, measure: Measure) -> None:
    measure(0, KNN, 0.5, "own", "digit-scenes")
    for epoch in (0, 2, 4):
        measure(epoch, KNN, 0.9, "other", "cifar10")
    way = knn(client, run_id)
    assert (way.dataset, way.values) == ("digit-scenes", {0: 0.5})
    assert best(client, run_id, KNN) == (0.5, 0)


def test_coverage_counts_more_than_being_later(client: MlflowClient, run_id: str, measure: Measure) -> None:
    for epoch in (0, 2, 4):
        measure(epoch, KNN, 0.1 * epoch, "whole", "digit-scenes")
    measure(4, KNN, 0.9, "one", "digit-scenes")
    way = knn(client, run_id)
    assert (way.digest, way.values) == ("digest of whole", pytest.approx({0: 0.0, 2: 0.2, 4: 0.4}))


def test_what_a_deleted_run_measured_does_not_count(client: MlflowClient, run_id: str, measure: Measure) -> None:
    measure(0, KNN, 0.5, "kept", "digit-scenes")
    for epoch in (0, 2, 4):
        measure(epoch, KNN, 0.9, "deleted", "digit-scenes")
    (model, *_) = milestones_of_run(client, run_id)
    (deleted,) = (metric.run_id for metric in model.metrics if metric.value == 0.9)
    client.delete_run(deleted)
    assert knn(client, run_id).values == {0: 0.5}
