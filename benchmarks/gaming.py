"""The table in docs/results/gaming: what label-free metrics say of embeddings that are made to please them.

Run `python -m benchmarks.gaming --data_dir=FOLDER`; started again, it takes the training that is there (set
MLFLOW_TRACKING_URI and SSLMLFLOW_HOME to keep it apart from other work).
"""

import argparse
import json
import platform
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from benchmarks.runs import finished, sslmlflow
from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.data import open_labels
from sslmlflow.data.augmentation import Augmentation
from sslmlflow.data.opening import cache_folder, dataset_spec, images_of_run, open_and_tell
from sslmlflow.embedding import embed_images, embed_views
from sslmlflow.evaluation.clusters import map_and_cluster
from sslmlflow.metrics.labelled.knn import knn_accuracy
from sslmlflow.metrics.labelled.linear_probe import standardised_probe
from sslmlflow.metrics.unlabelled.coding_rate import coding_rate_reduction_pairs, directions
from sslmlflow.metrics.unlabelled.layer import layer_metrics
from sslmlflow.reporting.tables import markdown_table
from sslmlflow.tracking.logged_models import load_milestone
from sslmlflow.tracking.server import connect
from sslmlflow.tracking.stored import milestones_of_run

TRAINING = ("--method=simclr", "--preset=monitoring-paper", "--max_train_images=5000", "--max_test_images=2000")
TRAINING += ("--width=16", "--epochs=15", "--milestone_every=15", "--seed=0")
COLUMNS = {
    "crr": "pair CRR",
    "crr_pooled": "pooled CRR",
    "crr_adjusted": "adjusted CRR",
    "crr_U": "U",
    "crr_A": "A",
    "rankme": "RankMe",
    "stable_rank": "stable rank",
    "alpha_req": "alpha-ReQ",
    "lidar": "LiDAR",
    "uniformity_loss": "uniformity loss",
    "retrieval": "retrieval",
    "cluster_agreement": "AMI(C1, C2)",
    "silhouette": "silhouette of C1",
    "entropy": "entropy H(Z3)",
    "knn": "5-NN",
    "probe": "standardised probe",
}
# Views (2, n, d) of held-out images, and embeddings of training and held-out images for the accuracies.
Features = tuple[Tensor, Tensor, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True, help="folder with train/ and test/")
    parser.add_argument("--results", type=Path, default=Path("docs/results/gaming"))
    arguments = parser.parse_args()
    run = finished("pretrain", TRAINING)
    if run is None:
        sslmlflow("pretrain", "--dataset=folder", f"--data_dir={arguments.data_dir}", *TRAINING, "--resume=auto")
        run = finished("pretrain", TRAINING)
        assert run is not None
    size, images = images_of_run(connect(), run.info.run_id)
    spec = dataset_spec(images, size, "auto")
    sets, labels = open_and_tell(spec), open_labels(spec, cache_folder())
    assert labels is not None
    found = {}
    for name in ("initialisation", "trained"):
        model = milestones_of_run(connect(), run.info.run_id)[-1 if name == "trained" else 0]
        milestone = load_milestone(model.model_id)
        prepared = milestone.preprocessing
        views = embed_views(milestone.encoder, sets.test, prepared, Augmentation(prepared.image_size), seed=0)[1]
        train, test = (embed_images(milestone.encoder, part, prepared)[1] for part in (sets.train, sets.test))
        found[name] = views, train, test
    classes = torch.from_numpy(labels.train), torch.from_numpy(labels.test)
    rows = {name: measure(features, classes) for name, features in kinds(found, classes).items()}
    views = found["trained"][0]
    for scale in (1, 10, 100):
        raw = coding_rate_reduction_pairs(scale * views)
        rows[f"trained, rows not scaled to norm 1, times {scale}"] = {"crr": float(raw.dR)}
    arguments.results.mkdir(parents=True, exist_ok=True)
    about = {"torch": torch.__version__, "python": platform.python_version(), "training": TRAINING, "rows": rows}
    (arguments.results / "gaming.json").write_text(json.dumps(about, indent=1) + "\n")
    print(table(rows))


def kinds(found: dict[str, Features], classes: tuple[Tensor, Tensor]) -> dict[str, Features]:
    """Embeddings by how they were come by."""
    trained = found["trained"]
    views, train, test = (directions(part) for part in trained)
    width, generator = views.shape[2], torch.Generator().manual_seed(0)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator) / width**0.5

    mean = train.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((train - mean).T.double()))
    whiten = (vectors / values.clamp_min(1e-6).sqrt()).float()
    perfect = [one_hot(part, width).float() for part in classes]
    codes = [noise(part) for part in (train, test)]
    return {
        "trained": trained,
        "initialisation": found["initialisation"],
        "trained, centred": (views - mean, train - mean, test - mean),
        "trained, whitened": ((views - mean) @ whiten, (train - mean) @ whiten, (test - mean) @ whiten),
        **{
            f"trained + noise of length {level}": tuple(part + level * noise(part) for part in (views, train, test))
            for level in (0.3, 1.0)
        },
        "pure noise, views apart": (noise(views), noise(train), noise(test)),
        "one point a class, orthogonal": (torch.stack([perfect[1]] * 2), *perfect),
        "one random code an image": (torch.stack([codes[1]] * 2), *codes),
    }  # type: ignore[dict-item]


def measure(features: Features, classes: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Every metric of the table that has a value."""
    views, train, test = features
    values = dict(layer_metrics(views).values)
    clustered = map_and_cluster(test, replace(EvaluationOptions(), clusters=10)).results.values
    values |= {key.partition("/")[2]: value for key, value in clustered.items()}
    values["knn"] = knn_accuracy(train, classes[0], test, classes[1])
    values["probe"] = standardised_probe(train, classes[0], test, classes[1])
    return {key: values[key] for key in COLUMNS if key in values}


def table(rows: dict[str, dict[str, float]]) -> str:
    """Rows in the order in which they were measured."""
    cells = [["embeddings", *COLUMNS.values()]]
    for name, values in rows.items():
        told = (f"{values[key]:.3g}" if key in values else "–" for key in COLUMNS)
        cells.append([name, *told])
    return markdown_table(cells, words=1)


if __name__ == "__main__":
    main()
