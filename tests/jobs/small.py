"""A training small enough for tests, and what it left in MLflow."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModel, Run

SMALL = [
    "--width=4",
    "--image_size=16",
    "--max_train_images=96",
    "--max_test_images=60",
    "--batch_size=32",
    "--monitor_images=40",
    "--lr=0.1",
]
TIMES = ("time/", "train/images_per_s")


@dataclass
class Left:
    """The one run of an experiment and its milestones."""

    client: MlflowClient
    run: Run
    milestones: list[LoggedModel]

    def history(self, key: str) -> list[tuple[int, float]]:
        """Step and value of every point, as MLflow holds them."""
        return sorted((m.step, m.value) for m in self.client.get_metric_history(self.run.info.run_id, key))

    def points(self) -> Counter[tuple[str, int, float]]:
        """How often the run has every point, and of the best of each metric the last; no seconds, for they differ."""
        metrics = self.client.get_run(self.run.info.run_id).data.metrics
        best = Counter((key, 0, value) for key, value in metrics.items() if key.startswith("best/"))
        told = [key for key in metrics if not key.startswith(TIMES) and not key.startswith("best/")]
        return best + Counter((key, step, value) for key in told for step, value in self.history(key))

    def measured(self, run_id: str | None = None) -> Counter[tuple[int, str, float]]:
        """How often the milestones have every metric, or every one that a run has measured, by epoch."""
        return Counter(
            (int(model.params["epoch"]), metric.key, metric.value)
            for model in self.milestones
            for metric in model.metrics or []
            if not metric.key.startswith(TIMES) and run_id in (None, metric.run_id)
        )

    def files(self) -> dict[tuple[int, str], bytes]:
        """The bytes of every milestone's weights, by epoch and file name."""
        found = {}
        for model in self.milestones:
            folder = Path(download_artifacts(model.artifact_location, tracking_uri=self.client.tracking_uri))
            for path in folder.glob("*.safetensors"):
                found[int(model.params["epoch"]), path.name] = path.read_bytes()
        return found


def left_in(tracking_uri: str, experiment: str = "0") -> Left:
    """What is on the tracking server, which must hold exactly one run."""
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient(tracking_uri)
    (run,) = client.search_runs([experiment])
    milestones = client.search_logged_models([experiment], "tags.kind = 'milestone'")
    return Left(client, run, sorted(milestones, key=lambda model: int(model.params["epoch"])))
