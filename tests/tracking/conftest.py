"""A tracking store of its own for each file of tests, and a run in it."""

from collections.abc import Iterator

import mlflow
import pytest
from mlflow import MlflowClient

from tests.conftest import NewDatabase

EXPERIMENT = "1"  # MLflow counts them


@pytest.fixture(scope="module")
def client(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    before = mlflow.get_tracking_uri()
    folder = tmp_path_factory.mktemp("mlflow")
    mlflow.set_tracking_uri(new_database(folder))
    client = MlflowClient()
    assert client.create_experiment("kept", artifact_location=f"{folder}/artifacts") == EXPERIMENT
    yield client
    mlflow.set_tracking_uri(before)


@pytest.fixture
def run_id(client: MlflowClient) -> str:
    return str(client.create_run(EXPERIMENT).info.run_id)
