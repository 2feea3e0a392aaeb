"""Milestones in a real MLflow: one model each whatever is repeated, and the very same encoder back."""

import random
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from PIL import Image, ImageOps
from safetensors.torch import load_file

from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.encoders import EncoderSpec, build_encoder
from sslmlflow.errors import UserError
from sslmlflow.files import write_atomically
from sslmlflow.methods import Method, build_method
from sslmlflow.milestone.milestone import write_milestone
from sslmlflow.tracking.logged_models import drop_milestone, load_milestone, send_milestone
from sslmlflow.tracking.stored import epoch_of, milestones_of_run
from tests.methods.batch import batch_of
from tests.tracking.conftest import EXPERIMENT

SPEC = EncoderSpec("resnet18", "cifar", width=4, image_size=16)
PREPROCESSING = {3: Preprocessing(16, 3, (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)), 1: Preprocessing(16, 1, (0.2,), (0.5,))}
FILES = {"encoder.safetensors", "method.safetensors", "milestone.json"}
NARROW = {
    "simclr": "hidden_width=24,projection_width=6",
    "moco-v2": "queue_size=10,hidden_width=24,projection_width=6",
}


def trained(name: str = "simclr") -> Method:
    """A method whose BatchNorm has seen something."""
    method = build_method(name, NARROW[name], build_encoder(SPEC, seed=3), seed=3)
    method.project(batch_of(torch.randn(2, 8, 3, 16, 16, generator=torch.Generator().manual_seed(0))))
    return method


def about(name: str = "simclr", channels: int = 3, epoch: int = 7) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "method": name,
        "method_options": NARROW[name],
        "dataset": {"train_fingerprint": "0" * 64},
        "preprocessing": PREPROCESSING[channels].as_json(),
        "monitor": {"images": 40, "eps": 0.5, "seed": 0},
    }


def write(folder: Path, method: Method, channels: int = 3, epoch: int = 7) -> Path:
    name = "moco-v2" if hasattr(method, "queue") else "simclr"
    write_milestone(folder, method, SPEC, about(name, channels, epoch))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "call", ["create_logged_model", "log_model_artifacts", "finalize_logged_model", "log_outputs", None]
)
def test_a_milestone_whose_sending_was_stopped_and_repeated_is_there_once(
    client: MlflowClient, run_id: str, tmp_path: Path, call: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "milestone", trained())
    stopped = MlflowClient()
    if call:

        def stop_after(*arguments: object, **more: object) -> None:
            getattr(client, call)(*arguments, **more)
            raise SystemExit

        monkeypatch.setattr(stopped, call, stop_after)
        with pytest.raises(SystemExit):
            send_milestone(stopped, run_id, 7, folder)
    if call == "log_model_artifacts":  # the kill came amid the transfer
        (model,) = client.search_logged_models([EXPERIMENT], f"source_run_id = '{run_id}'")
        there = Path(download_artifacts(model.artifact_location))
        (there / "encoder.safetensors").write_bytes(b"half")
        (there / "method.safetensors").unlink()
        assert milestones_of_run(client, run_id) == []

    model_id = send_milestone(client, run_id, 7, folder)
    assert send_milestone(client, run_id, 7, folder) == model_id

    (model,) = client.search_logged_models([EXPERIMENT], f"source_run_id = '{run_id}'")
    assert (model.model_id, str(model.status), epoch_of(model)) == (model_id, "READY", 7)
    outputs = client.get_run(run_id).outputs
    assert outputs is not None
    assert [(output.model_id, output.step) for output in outputs.model_outputs] == [(model_id, 7)]
    arrived = contents(Path(download_artifacts(model.artifact_location)))
    assert arrived == contents(folder)
    assert arrived.keys() == FILES


@pytest.mark.parametrize(("name", "channels"), [("simclr", 3), ("moco-v2", 1)])
def test_what_comes_back_embeds_bit_for_bit_as_what_was_trained(
    client: MlflowClient, run_id: str, tmp_path: Path, name: str, channels: int
) -> None:
    method = trained(name)
    model_id = send_milestone(client, run_id, 7, write(tmp_path / "milestone", method, channels))
    milestone = load_milestone(model_id)
    pixels = np.random.default_rng(0).integers(0, 256, (5, channels, 16, 16)).astype(np.uint8)
    encoder, preprocessing = method.encoder.eval(), PREPROCESSING[channels]
    with torch.no_grad():
        early, last = encoder.embed(preprocessing.normalise(torch.from_numpy(pixels)))
    assert torch.equal(milestone.embed(pixels), last)
    assert torch.equal(milestone.embed_layers(pixels)[0], early)
    assert last.std(dim=0).min() > 0, "the embeddings say nothing"
    assert not any(module.training for module in milestone.encoder.modules())
    assert (milestone.epoch, milestone.preprocessing.channels) == (7, channels)
    assert repr(milestone) == f"Milestone(epoch=7, method='{name}', encoder='resnet18', width=4, image_size=16)"


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_other_sizes_and_modes_are_taken(
    client: MlflowClient, run_id: str, tmp_path: Path, channels: int
) -> None:
    milestone = load_milestone(send_milestone(client, run_id, 7, write(tmp_path / "m", trained(), channels)))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 28, 3)).astype(np.uint8))
    pictures = [picture, picture.convert("L"), picture.resize((16, 16)), picture.convert("RGBA")]
    fitted = [ImageOps.fit(picture.convert("RGB"), (16, 16), Image.Resampling.BICUBIC) for picture in pictures]
    stacked = np.stack([np.asarray(square.convert("L" if channels == 1 else "RGB")) for square in fitted])
    pixels = stacked.reshape(4, 16, 16, channels).transpose(0, 3, 1, 2)
    # Not bit for bit: pictures and arrays lie differently in memory, and so convolutions sum in another order.
    torch.testing.assert_close(milestone.embed(pictures), milestone.embed(pixels.copy("C")), rtol=1e-5, atol=1e-5)


def test_other_arrays_are_refused(client: MlflowClient, run_id: str, tmp_path: Path) -> None:
    milestone = load_milestone(send_milestone(client, run_id, 7, write(tmp_path / "m", trained())))
    for wrong in (
        np.zeros((2, 3, 16, 16), np.float32),
        np.zeros((2, 3, 15, 16), np.uint8),
        np.zeros((2, 1, 16, 16), np.uint8),
        np.zeros((2, 16, 16, 3), np.uint8),
        np.zeros((3, 16, 16), np.uint8),
    ):
        with pytest.raises(UserError, match=r"takes uint8 \(n, 3, 16, 16\)") as refused:
            milestone.embed(wrong)
        assert f"{wrong.dtype} {wrong.shape}" in str(refused.value)


def test_what_is_no_milestone_is_refused(client: MlflowClient) -> None:
    other = client.create_logged_model(EXPERIMENT, name="other", tags={"kind": "detector"})
    client.finalize_logged_model(other.model_id, "READY")
    with pytest.raises(UserError, match=f"{other.model_id} is a model, but not a milestone"):
        load_milestone(other.model_id)
    with pytest.raises(UserError, match="m-nosuchmodel is not a model on this tracking server"):
        load_milestone("m-nosuchmodel")


@pytest.mark.slow
def test_all_finished_milestones_of_a_run_are_found_by_epoch(client: MlflowClient, run_id: str) -> None:
    def make(run: str, epoch: int, kind: str = "milestone", ready: bool = True) -> str:
        about: Any = {"params": {"epoch": str(epoch)}, "tags": {"kind": kind}}
        model = client.create_logged_model(EXPERIMENT, source_run_id=run, **about)
        if ready:
            client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    epochs = list(range(0, 5 * 53, 5))
    random.Random(0).shuffle(epochs)
    made = {epoch: make(run_id, epoch) for epoch in epochs}  # more than a page
    make(run_id, 1, ready=False)
    make(run_id, 2, kind="detector")
    make(client.create_run(EXPERIMENT).info.run_id, 3)
    found = milestones_of_run(client, run_id)
    assert [(epoch_of(model), model.model_id) for model in found] == sorted(made.items())


def test_a_milestone_whose_writing_was_stopped_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, folder, saved = trained("moco-v2"), tmp_path / "epoch-7", []

    def full(path: Path, data: bytes, shared: bool) -> None:
        saved.append(path)
        if len(saved) == 2:
            path.write_bytes(b"half")
            raise UserError(f"cannot write {path}: No space left on device.")
        write_atomically(path, data, shared)

    with monkeypatch.context() as patch:
        patch.setattr("sslmlflow.milestone.milestone.write_atomically", full)
        with pytest.raises(UserError, match="No space left"):
            write(folder, method)
    assert not folder.exists()

    write(folder, method)
    write(folder, method)  # as a training that was killed before it took note of the milestone does
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-7"]
    assert contents(folder).keys() == FILES
    written = {f"encoder.{key}": tensor for key, tensor in load_file(folder / "encoder.safetensors").items()}
    written |= load_file(folder / "method.safetensors")
    torch.testing.assert_close(written, dict(method.state_dict()), rtol=0, atol=0)


def test_a_milestone_whose_dropping_was_not_answered_is_dropped(client: MlflowClient, tmp_path: Path) -> None:
    run_id = client.create_run(EXPERIMENT).info.run_id
    model_id = send_milestone(client, run_id, 7, write(tmp_path / "epoch-7", trained()))
    for _ in range(2):
        drop_milestone(client, model_id)
    assert milestones_of_run(client, run_id) == []


@pytest.mark.parametrize("way", ["models:/", "files", "mlflow.register_model", "mlflow.register_model of the files"])
def test_a_milestone_that_somebody_registered_is_not_dropped(
    client: MlflowClient, run_id: str, tmp_path: Path, way: str
) -> None:
    model_id = send_milestone(client, run_id, 7, write(tmp_path / "epoch-7", trained()))
    place, name = client.get_logged_model(model_id).artifact_location, f"mine by {len(way)}"
    if way.startswith("mlflow"):
        mlflow.register_model(place if "files" in way else f"models:/{model_id}", name)
    else:
        client.create_registered_model(name)
        client.create_model_version(name, f"models:/{model_id}" if way == "models:/" else place, model_id=model_id)
    drop_milestone(client, model_id)
    assert load_milestone(model_id).epoch == 7
