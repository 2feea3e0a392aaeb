"""Embeddings from elsewhere, scored from the command line."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.metrics import silhouette_score

from sslmlflow.metrics.labelled.coding_rate import coding_rate_reduction_labels
from sslmlflow.metrics.unlabelled.coding_rate import coding_rate_reduction_pairs, unit_rows
from sslmlflow.metrics.unlabelled.spectrum import rankme
from tests.conftest import Command

pytestmark = pytest.mark.slow


@pytest.fixture
def files(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    classes = random.integers(0, 3, 120)
    Z = 4 * np.eye(3, 8)[classes] + random.normal(size=(120, 8))
    np.save(tmp_path / "z.npy", Z)
    np.save(tmp_path / "other.npy", Z + 0.3 * random.normal(size=Z.shape))
    np.save(tmp_path / "classes.npy", np.array(["cat", "dog", "owl"])[classes])
    return tmp_path


def told(text: str) -> dict[str, str]:
    """Values as they are printed, by key."""
    lines = [line.split() for line in text.splitlines() if "label" in line.split(" ")[-1]]
    return {line[-1]: line[-2] if line[-2] != "%" else line[-3] for line in lines}


def test_everything_that_the_files_allow_is_measured_and_kept(
    files: Path, sslmlflow: Command, environment: dict[str, str]
) -> None:
    done = sslmlflow("score", "z.npy", "--views", "other.npy", "--labels=classes.npy", "--clusters=3", "--log=true")
    assert done.returncode == 0, done.stderr
    Z, other, classes = (np.load(files / name) for name in ("z.npy", "other.npy", "classes.npy"))
    values = told(done.stdout)
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    (run,) = client.search_runs(["0"])
    assert run.info.status == "FINISHED"
    kept = run.data.metrics
    assert set(kept) == set(values)
    assert kept["label_free/crr"] == pytest.approx(coding_rate_reduction_pairs(unit_rows(np.stack([Z, other]))).dR)
    assert kept["label_free/rankme"] == pytest.approx(rankme(Z))
    assert kept["labelled/crr"] == pytest.approx(coding_rate_reduction_labels(unit_rows(Z), classes).dR)
    assert kept["labelled/silhouette_truth"] == pytest.approx(silhouette_score(Z, classes))
    assert kept["labelled/ami_clusters_truth"] > 0.8
    assert kept["labelled/linear_probe_standardised"] > 0.9
    assert kept["label_free/crr_adjusted_low"] < kept["label_free/crr_adjusted"] < kept["label_free/crr_adjusted_high"]
    assert values["label_free/rankme"] == f"{rankme(Z):.3f}"
    assert client.list_artifacts(run.info.run_id)[0].path == "score.txt"


def test_without_views_and_labels_the_rest_is_measured_and_no_run_is_made(
    files: Path, sslmlflow: Command, environment: dict[str, str]
) -> None:
    database = Path(environment["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///"))
    database.unlink()
    done = sslmlflow("score", "--embeddings=z.npy")
    assert done.returncode == 0, done.stderr
    values = told(done.stdout)
    assert {"label_free/rankme", "label_free/crr_R", "label_free/entropy", "label_free/silhouette"} <= set(values)
    assert not {key for key in values if key.startswith("labelled/")}
    assert "label_free/crr" not in values
    assert "Give --views for coding rate reduction" in done.stdout
    assert not database.exists()


def test_labels_change_nothing_that_is_label_free(files: Path, sslmlflow: Command) -> None:
    score = "score", "z.npy", "--views=other.npy"
    with_, without = sslmlflow(*score, "--labels=classes.npy"), sslmlflow(*score)
    free = {key: value for key, value in told(with_.stdout).items() if key.startswith("label_free/")}
    assert free == told(without.stdout)


def test_collapsed_embeddings_have_reasons_instead_of_values(files: Path, sslmlflow: Command) -> None:
    np.save(files / "flat.npy", np.ones((50, 4), np.float32))
    done = sslmlflow("score", "flat.npy", "--views=flat.npy")
    assert done.returncode == 0, done.stderr
    assert told(done.stdout) == {"label_free/collapsed": "1.000"}
    assert "pair CRR undefined: collapsed: all 50 embeddings are the same" in done.stdout


def test_mistakes_are_told_in_words(files: Path, sslmlflow: Command) -> None:
    np.save(files / "whole.npy", np.ones((5, 2), int))
    np.save(files / "cube.npy", np.ones((2, 5, 2)))
    np.save(files / "few.npy", np.ones((5, 8)))
    np.savez(files / "two.npz", a=np.ones(2))
    marker = files / "it ran"
    (files / "pickle.npy").write_bytes(pickle.dumps(Hostile(str(marker))))
    for arguments, status, said in [
        ([], 2, "embeddings needs to be given"),
        (["nothing.npy"], 1, "embeddings=nothing.npy cannot be read as a NumPy file (.npy): "),
        (["pickle.npy"], 1, "embeddings=pickle.npy cannot be read as a NumPy file"),
        (["two.npz"], 1, "holds several arrays (.npz)"),
        (["whole.npy"], 1, "holds int64. Allowed: floats"),
        (["cube.npy"], 1, "has the shape (2, 5, 2). Allowed: (images, features)"),
        (["z.npy", "--views=few.npy"], 1, "views=few.npy holds (5, 8) and embeddings=z.npy (120, 8)"),
        (["few.npy", "--labels=classes.npy"], 1, "labels=classes.npy has the shape (120,). Allowed: (5,)"),
        (["z.npy", "more.npy"], 2, "more.npy is not a parameter"),
        (["z.npy", "--clusters=1"], 2, "clusters=1 is not possible"),
    ]:
        refused = sslmlflow("score", *arguments)
        assert refused.returncode == status, (arguments, refused.stderr)
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
    assert not marker.exists()


class Hostile:
    """What a pickle can do."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return (open, (self.marker, "w"))
