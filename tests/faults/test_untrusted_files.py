"""Files that would run code if anybody unpickled them, on every way into the program."""

import hashlib
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from sslmlflow import load_milestone
from sslmlflow.cli import main
from sslmlflow.encoders import EncoderSpec, build_encoder, published
from sslmlflow.encoders.pretrained import published_weights
from sslmlflow.errors import UserError
from sslmlflow.tracking.logged_models import send_milestone
from sslmlflow.training.checkpoint import load_checkpoint
from tests.tracking.test_logged_models import trained, write

ADVICE = ("weights_only", "allow_pickle", "trust", "pickled")  # of torch and NumPy: to load them all the same


class Hostile:
    """What a pickle can do: here it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> Any:
        return (open, (self.marker, "w"))


def _by_torch(hostile: Hostile) -> bytes:
    file = io.BytesIO()
    torch.save(hostile, file)
    return file.getvalue()


def _by_numpy(hostile: Hostile) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([hostile], dtype=object), allow_pickle=True)
    return file.getvalue()


KINDS: dict[str, Callable[[Hostile], bytes]] = {
    **{f"pickle {protocol}": lambda h, p=protocol: pickle.dumps(h, p) for protocol in (0, 2, 5)},  # type: ignore[misc]
    "torch": _by_torch,
    "numpy": _by_numpy,
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_do_what_they_are_feared_for(marker: Path, kind: str) -> None:
    data = io.BytesIO(KINDS[kind](Hostile(marker)))
    if kind == "numpy":
        np.load(data, allow_pickle=True)
    elif kind == "torch":
        torch.load(data, weights_only=False)
    else:
        pickle.load(data)
    assert marker.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["encoder.safetensors", "method.safetensors", "milestone.json", "MLmodel"])
def test_milestone(marker: Path, tmp_path: Path, kind: str, name: str) -> None:
    client = MlflowClient()
    run_id = client.create_run("0").info.run_id
    model_id = send_milestone(client, run_id, 7, write(tmp_path / "epoch", trained()))
    kept = Path(download_artifacts(client.get_logged_model(model_id).artifact_location))
    (kept / name).write_bytes(KINDS[kind](Hostile(marker)))
    if name == "MLmodel":  # nobody asks for it
        load_milestone(model_id)
    else:
        with pytest.raises(UserError, match="cannot be read as those of one"):
            load_milestone(model_id)
    assert not marker.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoint(marker: Path, tmp_path: Path, kind: str) -> None:
    data = KINDS[kind](Hostile(marker))
    checksum = hashlib.sha256(data).hexdigest()[:16]
    (tmp_path / f"step-0000000001.{checksum}.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="is not a checkpoint of sslmlflow"):
        load_checkpoint(tmp_path)
    assert not marker.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", ["embeddings", "views", "labels"])
def test_score(marker: Path, tmp_path: Path, kind: str, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("good.npy", np.random.default_rng(0).normal(size=(20, 4)))
    (tmp_path / "hostile.npy").write_bytes(KINDS[kind](Hostile(marker)))
    files = {"embeddings": "good.npy", given: "hostile.npy"}
    assert main(["score", *(f"--{name}={file}" for name, file in files.items())]) == 1
    said = capsys.readouterr().err
    assert f"sslmlflow: {given}=hostile.npy " in said
    assert not any(advice in said for advice in ADVICE)
    assert not marker.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_torchvision(marker: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))  # wherever another test set it
    file = tmp_path / "hub" / "checkpoints" / published_weights("squeezenet1_1").url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    file.write_bytes(KINDS[kind](Hostile(marker)))
    with pytest.raises(UserError, match="cannot be read or do not fit") as refused:
        build_encoder(EncoderSpec("squeezenet1_1", image_size=32, published=True), seed=0)
    assert not any(advice in str(refused.value) for advice in ADVICE)
    assert not marker.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_weights_of_timm(marker: Path, tmp_path: Path, kind: str, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder = tmp_path / ("models--" + published("timm/test_resnet").weights.replace("/", "--"))
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    (snapshot / file).write_bytes(KINDS[kind](Hostile(marker)))
    with pytest.raises(UserError, match="weights of timm/test_resnet") as refused:
        build_encoder(EncoderSpec("timm/test_resnet", image_size=160, published=True), seed=0)
    assert not any(advice in str(refused.value) for advice in ADVICE)
    assert not marker.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_folder_of_images(marker: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.png", "b.jpg", "c.npy", "d.pkl", "labels.json"):
        (images / name).write_bytes(KINDS[kind](Hostile(marker)))
    assert main(["pretrain", "--dataset=folder", f"--data_dir={images}"]) == 1
    assert "a.png" in capsys.readouterr().err
    assert not marker.exists()
