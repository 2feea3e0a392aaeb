"""The choice without labels on milestones with made values: what is said, and what is registered."""

import json
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from sslmlflow.reporting.history import History, history_of
from sslmlflow.reporting.milestone_choice import choose_milestone, register, verdict
from sslmlflow.tracking.stored import DEVIATIONS
from tests.conftest import NewDatabase

CRR, STANDARDISED = "label_free/crr_adjusted", "labelled/linear_probe_standardised"
LOSS = "label_free/held_out_loss"
Training = Callable[..., History]


@pytest.fixture(scope="module")
def client(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    uri = new_database(tmp_path_factory.mktemp("choice"))
    mlflow.set_tracking_uri(uri)
    return MlflowClient(uri)


@pytest.fixture
def training(client: MlflowClient, tmp_path: Path) -> Training:
    """Milestones at epochs 0, 10, ... with these criteria of so many images, 0.1 to either side, and accuracies."""
    experiment = client.create_experiment(tmp_path.name, artifact_location=str(tmp_path))

    def make(criteria: list[float], accuracies: list[float] | None = None, images: int = 200) -> History:
        run_id = client.create_run(experiment).info.run_id
        for place, value in enumerate(criteria):
            model = client.create_logged_model(
                experiment, source_run_id=run_id, params={"epoch": str(10 * place)}, tags={"kind": "milestone"}
            )
            about = tmp_path / "milestone.json"
            about.write_text(json.dumps({"monitor": {"images": images}}))
            client.log_model_artifact(model.model_id, str(about))
            client.finalize_logged_model(model.model_id, "READY")
            metrics = {CRR: value, f"{CRR}_low": value - 0.1, f"{CRR}_high": value + 0.1}
            if accuracies:
                metrics[STANDARDISED] = accuracies[place]
            points = [Metric(key, v, 0, 10 * place, model_id=model.model_id) for key, v in metrics.items()]
            client.log_batch(run_id, metrics=points)
        return history_of(client, run_id)

    return make


def test_of_a_loss_the_lowest_is_chosen(client: MlflowClient, training: Training) -> None:
    history = training([1.0, 3.0, 2.0], [0.3, 0.5, 0.6])
    run = client.get_run(history.run_id)
    for model, loss in zip(history.models, (2.0, 1.2, 1.1), strict=True):
        point = Metric(LOSS, loss, 0, int(model.params["epoch"]), model_id=model.model_id)
        client.log_batch(run.info.run_id, metrics=[point])
    history = history_of(client, history.run_id)
    choice = choose_milestone(history, LOSS)
    assert choice.chosen == 20
    words = verdict(history, LOSS, choice)
    assert "epoch 20, the lowest held-out loss." in words
    assert "none is better" in words
    assert register(client, history, choice, LOSS) == "Not registered: this criterion has no interval."


def test_a_separated_milestone_is_registered_once(client: MlflowClient, training: Training) -> None:
    history = training([1.0, 3.0, 2.0], [0.3, 0.55, 0.6])
    choice = choose_milestone(history, CRR)
    words = verdict(history, CRR, choice)
    assert "epoch 10" in words
    assert "separates it from all other milestones" in words
    assert "the best is epoch 20: the choice lost 5.0 points" in words

    for _ in range(2):
        told = register(client, history, choice, CRR)
    experiment = client.get_experiment(client.get_run(history.run_id).info.experiment_id)
    name = f"sslmlflow-{experiment.name}"
    assert told == f"Registered as {name}, version 1, alias label-free-best."
    registered = client.get_model_version_by_alias(name, "label-free-best")
    assert registered.tags == {
        "model_id": history.models[1].model_id,
        "criterion": CRR,
        "epoch": "10",
        "run_id": history.run_id,
        "points_lost": "5.00",
    }
    assert len(client.search_model_versions(f"name = '{name}'")) == 1


def test_milestones_that_cannot_be_separated_are_named_and_not_registered(
    client: MlflowClient, training: Training
) -> None:
    history = training([1.0, 2.9, 3.0, 2.95])
    choice = choose_milestone(history, CRR)
    words = verdict(history, CRR, choice)
    assert "epoch 20" in words
    assert "The criterion does not separate it from epoch 10, 30." in words
    assert "points" not in words
    assert register(client, history, choice, CRR).startswith("Not registered")
    experiment = client.get_experiment(client.get_run(history.run_id).info.experiment_id)
    assert not client.search_registered_models(f"name = 'sslmlflow-{experiment.name}'")


def test_a_value_within_the_shuffled_spread_is_not_registered(client: MlflowClient, training: Training) -> None:
    history = training([0.1, 0.5, 0.2])
    resolution = [Metric(f"{CRR}_resolution", 0.6, 0, 10, model_id=history.models[1].model_id)]
    client.log_batch(history.run_id, metrics=resolution)
    history = history_of(client, history.run_id)
    choice = choose_milestone(history, CRR)
    assert choice.separated
    assert "no signal to choose by yet" in verdict(history, CRR, choice)
    assert register(client, history, choice, CRR) == "Not registered: there is no signal to choose by."


def test_what_was_measured_on_few_images_is_not_registered(client: MlflowClient, training: Training) -> None:
    history = training([1.0, 3.0, 2.0], images=199)
    choice = choose_milestone(history, CRR)
    assert choice.separated
    told = register(client, history, choice, CRR)
    assert told == "Not registered: it was measured on 199 held-out images, fewer than 200."
    experiment = client.get_experiment(client.get_run(history.run_id).info.experiment_id)
    assert not client.search_registered_models(f"name = 'sslmlflow-{experiment.name}'")


def test_a_single_milestone_has_nothing_to_be_compared_with(training: Training) -> None:
    history = training([1.0])
    assert "nothing to compare it with" in verdict(history, CRR, choose_milestone(history, CRR))


def test_the_labels_play_no_part_in_the_choice(training: Training) -> None:
    criteria = [1.0, 3.0, 2.0]
    labelled = choose_milestone(training(criteria, [0.9, 0.1, 0.9]), CRR)
    assert labelled == choose_milestone(training(criteria), CRR)


def test_without_a_value_nothing_is_chosen(training: Training) -> None:
    history = training([1.0, 2.0])
    assert choose_milestone(history, "label_free/rankme").chosen is None
    assert "No milestone can be chosen" in verdict(
        history, "label_free/rankme", choose_milestone(history, "label_free/rankme")
    )


def test_of_a_tuning_it_is_said_that_it_was_trained_on_the_rate(client: MlflowClient, training: Training) -> None:
    history = training([1.0, 2.0])
    assert "UMM raises" not in verdict(history, CRR, choose_milestone(history, CRR))
    for variant, alpha, said in (("umm", 0.1, True), ("umm", 0.0, False), ("continuation", 0.1, False)):
        history = training([1.0, 2.0])
        client.log_param(history.run_id, "variant", variant)
        client.log_param(history.run_id, "alpha", alpha)
        history = history_of(client, history.run_id)
        assert ("UMM raises" in verdict(history, CRR, choose_milestone(history, CRR))) == said


def test_milestones_are_compared_on_the_same_halves(client: MlflowClient, training: Training) -> None:
    history = training([1.0, 2.95, 3.0])
    for place, deviations in enumerate(([0.0, 0.1, -0.1], [0.05, -0.05, 0.0], [0.04, -0.05, 0.01])):
        client.set_logged_model_tags(history.models[place].model_id, {DEVIATIONS: json.dumps(deviations)})
    history = history_of(client, history.run_id)
    choice = choose_milestone(history, CRR)
    assert choice == (20, (), True), "though its interval overlaps with that of epoch 10"
    assert "separates it from all other milestones" in verdict(history, CRR, choice)


@pytest.mark.parametrize("text", ["", "no", "[1", "[1e999, 2]", '{"a": 1}', "[true, 1]", "[NaN, 1]", "[" * 4000, "[]"])
def test_deviations_that_others_wrote_are_left_out(client: MlflowClient, training: Training, text: str) -> None:
    history = training([1.0, 2.95, 3.0])
    for model in history.models:
        client.set_logged_model_tags(model.model_id, {DEVIATIONS: text})
    history = history_of(client, history.run_id)
    assert choose_milestone(history, CRR) == (20, (10,), False), "by the intervals"
