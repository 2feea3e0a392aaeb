"""Embeddings from elsewhere, scored from the command line."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from sklearn.metrics import silhouette_score

from sslmlflow.config.score import Score
from sslmlflow.evaluation.embedding_labels import Labels
from sslmlflow.evaluation.score import measure
from sslmlflow.metrics.labelled.coding_rate import coding_rate_reduction_labels
from sslmlflow.metrics.unlabelled.coding_rate import coding_rate_reduction_pairs, unit_rows
from sslmlflow.metrics.unlabelled.spectrum import rankme
from tests.conftest import Command
from tests.evaluation.test_embedding_files import shaped

pytestmark = pytest.mark.slow


@pytest.fixture
def files(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    classes = np.sort(random.integers(0, 3, 120))  # class by class, as folders are read
    Z = 4 * np.eye(3, 8)[classes] + random.normal(size=(120, 8))
    np.save(tmp_path / "z.npy", Z)
    np.save(tmp_path / "other.npy", Z + 0.3 * random.normal(size=Z.shape))
    np.save(tmp_path / "classes.npy", np.array(["cat", "dog", "owl"])[classes])
    return tmp_path


def told(text: str) -> dict[str, str]:
    """Values as they are printed, by key."""
    lines = (
        re.fullmatch(r".*  ([-.\d]+)( %)?  (higher|lower|near 1|) *((label_free|labelled)/\w+)", line)
        for line in text.splitlines()
    )
    return {line[4]: line[1] for line in lines if line}


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
    assert done.stdout.startswith("120 images x 8 features, 2 views, 3 classes\n")
    assert re.search(r"entropy H\(Z3\) +[\d.]+  lower ", done.stdout)
    assert re.search(r"alpha-ReQ +[\d.]+  near 1 ", done.stdout)
    assert client.list_artifacts(run.info.run_id)[0].path == "score.txt"
    assert "RankMe" in run.data.tags["mlflow.note.content"]


def test_under_mlflow_run_the_values_are_in_its_run(
    files: Path, sslmlflow: Command, environment: dict[str, str]
) -> None:
    client = MlflowClient(environment["MLFLOW_TRACKING_URI"])
    run_id = client.create_run("0").info.run_id
    done = sslmlflow("score", "--embeddings=z.npy", MLFLOW_RUN_ID=run_id)
    assert done.returncode == 0, done.stderr
    run = client.get_run(run_id)
    assert set(run.data.metrics) == set(told(done.stdout))
    assert run.info.status == "FINISHED"


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


def test_classes_may_be_a_column_and_embeddings_in_float32_the_only_array_of_an_npz(
    files: Path, sslmlflow: Command
) -> None:
    np.savez(files / "only.npz", z=np.load(files / "z.npy").astype(np.float32))
    np.save(files / "column.npy", np.load(files / "classes.npy")[:, None])
    plain = sslmlflow("score", "z.npy", "--labels=classes.npy")
    packed = sslmlflow("score", "only.npz", "--labels=column.npy")
    assert packed.returncode == 0, packed.stderr
    assert told(packed.stdout) == told(plain.stdout)


def test_labels_change_nothing_that_is_label_free_and_many_images_are_sampled(files: Path, sslmlflow: Command) -> None:
    classes = np.load(files / "classes.npy")
    classes[5:15] = ""
    np.save(files / "some.npy", classes)
    score = "score", "z.npy", "--views=other.npy", "--max_rows=60"
    with_, without = sslmlflow(*score, "--labels=some.npy"), sslmlflow(*score)
    assert with_.returncode == 0, with_.stderr
    free = {key: value for key, value in told(with_.stdout).items() if key.startswith("label_free/")}
    assert free == told(without.stdout)
    assert "\n10 of 120 images have no label (-1, NaN, NaT or an empty text) and are left out " in with_.stdout
    assert "\n120 rows: what compares all with all is measured on a random 60 (max_rows)\n" in with_.stdout
    (sampled,) = (line for line in with_.stdout.splitlines() if line.startswith("on a random 60 images (max_rows): "))
    assert all(name in sampled for name in ("retrieval", "silhouette of C1", "5-NN", "AMI(C1, classes)"))
    assert not any(name in sampled for name in ("RankMe", "CRR", "LiDAR"))
    assert free["label_free/rankme"] == f"{rankme(np.load(files / 'z.npy')):.3f}"  # of all images


def test_what_does_not_compare_all_with_all_is_measured_on_all_images() -> None:
    random = np.random.default_rng(0)
    views = torch.from_numpy(random.normal(size=(2, 300, 6)).astype(np.float32))
    labels = Labels(random.integers(-1, 3, 300))
    found = measure(views, labels, Score(max_rows=8))  # too few for most of what is sampled
    assert found.values["label_free/rankme"] == pytest.approx(rankme(views[0]))
    assert found.values["label_free/crr"] == pytest.approx(float(coding_rate_reduction_pairs(unit_rows(views)).dR))
    known = labels.known
    rates = coding_rate_reduction_labels(unit_rows(views[0][known]), labels.classes[known])
    assert found.values["labelled/crr"] == pytest.approx(float(rates.dR))
    assert "label_free/silhouette" in found.undefined
    assert found.sampled < set(found.values)


def test_collapsed_embeddings_have_reasons_instead_of_values(files: Path, sslmlflow: Command) -> None:
    np.save(files / "flat.npy", np.ones((50, 4), np.float32))
    np.save(files / "twice.npy", np.full((50, 4), 2, np.float32))
    done = sslmlflow("score", "flat.npy", "--views=twice.npy")
    assert done.returncode == 0, done.stderr
    assert told(done.stdout) == {"label_free/collapsed": "1.000"}
    reasons = [line for line in done.stdout.splitlines() if line.startswith("undefined")]
    assert len(reasons) == 1
    assert "(collapsed: all 50 embeddings are the same" in reasons[0]
    assert "pair CRR" in reasons[0]


def test_few_images_keep_what_can_be_measured_of_them(files: Path, sslmlflow: Command) -> None:
    for name in ("z", "other", "classes"):
        np.save(files / f"few-{name}.npy", np.load(files / f"{name}.npy")[::20])
    done = sslmlflow("score", "few-z.npy", "--views=few-other.npy", "--labels=few-classes.npy")
    assert done.returncode == 0, done.stderr
    assert {"label_free/collapsed", "label_free/crr", "label_free/crr_adjusted"} <= set(told(done.stdout))
    reasons = "\n".join(line for line in done.stdout.splitlines() if line.startswith("undefined"))
    assert "adjusted CRR, 95 % from" in reasons
    assert "(there are no clusters): AMI(C1, classes)" in reasons


def test_what_has_no_value_at_all_is_told_and_so_is_what_looks_too_good(files: Path, sslmlflow: Command) -> None:
    random = np.random.default_rng(1)
    np.save(files / "tiny.npy", np.load(files / "z.npy")[:3])
    done = sslmlflow("score", "tiny.npy")
    assert done.returncode == 0, done.stderr
    assert "undefined (needs at least 4 images, got 3): " in done.stdout
    np.save(files / "noise.npy", random.normal(size=(900, 8)))
    assert "Suspicious: the embeddings take 100 % of the room" in sslmlflow("score", "noise.npy").stdout
    assert "Suspicious" not in sslmlflow("score", "z.npy").stdout


def test_mistakes_are_told_in_words(files: Path, sslmlflow: Command) -> None:
    np.save(files / "whole.npy", np.ones((5, 2), int))
    np.save(files / "cube.npy", np.ones((2, 5, 2)))
    np.save(files / "few.npy", np.ones((5, 8)))
    np.savez(files / "two.npz", a=np.ones(2), b=np.ones(2))
    bad = np.load(files / "z.npy")
    bad[7, 0], bad[9, 1] = np.nan, np.inf
    np.save(files / "bad.npy", bad)
    (files / "claims.npy").write_bytes(shaped("(1000000000000, 8)"))
    (files / "broken.npz").write_bytes((files / "two.npz").read_bytes()[:-9])
    (files / "text.npy").write_text("1.0, 2.0\n")
    torch.save(torch.ones(3), files / "z.pt")
    marker = files / "it ran"
    (files / "pickle.npy").write_bytes(pickle.dumps(Hostile(str(marker))))
    np.save(files / "objects.npy", np.array([Hostile(str(marker))]))
    for arguments, status, said in [
        ([], 2, "embeddings needs to be given"),
        (["nothing.npy"], 1, f"embeddings=nothing.npy cannot be read: No such file or directory ({files}/nothing.npy)"),
        (["pickle.npy"], 1, "embeddings=pickle.npy is not a NumPy file"),
        (["objects.npy"], 1, "embeddings=objects.npy holds Python objects, which may be code"),
        (["text.npy"], 1, "embeddings=text.npy is not a NumPy file"),
        (["z.pt"], 1, "embeddings=z.pt is a file of torch; numpy.save"),
        (["two.npz"], 1, "embeddings=two.npz holds 2 arrays (a, b)"),
        (["bad.npy"], 1, "embeddings=bad.npy: 2 of 120 rows hold NaN or infinity, the first is row 7"),
        (["z.npy", "--views=bad.npy"], 1, "views=bad.npy: 2 of 120 rows hold NaN or infinity"),
        (["z.npy", "--views=z.npy"], 1, "views=z.npy holds the numbers of embeddings=z.npy: another augmentation"),
        (["claims.npy"], 1, "embeddings=claims.npy is damaged or cut off: its header claims 1,000,000,000,000 x 8"),
        (["broken.npz"], 1, "embeddings=broken.npz cannot be read as a NumPy file: "),
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
