"""How images were read goes with the run and its milestones: bit depth, and the list of files that were left out."""

from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.artifacts import load_text
from PIL import Image

from sslmlflow.config.data import DataOptions
from sslmlflow.config.evaluate import Evaluate
from sslmlflow.config.options import texts_of
from sslmlflow.data import open_images
from sslmlflow.data.opening import dataset_spec
from sslmlflow.data.source import ArrayImages, DatasetSpec
from sslmlflow.embedding import embed_images
from sslmlflow.jobs.evaluate import _training_images
from sslmlflow.tracking.logged_models import load_milestone
from sslmlflow.tracking.trained_images import images_of_run
from tests.conftest import Command, NewDatabase


def test_bit_depth_and_bad_files_of_a_run(sslmlflow: Command, environment: dict[str, str], tmp_path: Path) -> None:
    random, folder = np.random.default_rng(0), tmp_path / "images"
    for name, largest in (("faint", 1000), ("strong", 4095)):
        (folder / name).mkdir(parents=True)
        for number in range(60):
            pixels = random.integers(0, largest + 1, (16, 16)).astype(np.uint16)
            Image.fromarray(pixels).save(folder / name / f"{number:02}.png")
    (folder / "faint" / "07.png").write_bytes(b"no image")
    images = ["--dataset=folder", f"--data_dir={folder}", "--image_size=16"]
    small = [*images, "--width=4", "--batch_size=16", "--epochs=1", "--monitor_images=8"]
    done = sslmlflow("pretrain", *small)
    assert done.returncode == 0, done.stderr
    assert "bit_depth=12, the fewest bits that hold every value" in done.stdout

    mlflow.set_tracking_uri(environment["MLFLOW_TRACKING_URI"])
    client = MlflowClient()
    (run,) = client.search_runs(["0"])
    assert run.data.params["resolved/bit_depth"] == "12"
    assert load_text(f"{run.info.artifact_uri}/bad_images.txt").startswith("faint/07.png\tnot an image")
    model = client.search_logged_models(["0"], "tags.kind = 'milestone'")[0]
    milestone = load_milestone(model.model_id)
    assert milestone.preprocessing.bit_depth == 12
    spec = DatasetSpec("folder", folder, False, 16, None, None, bit_depth=12)
    held_out = open_images(spec, tmp_path / "cache").test
    by_file = embed_images(milestone.encoder, held_out, milestone.preprocessing)[1]
    pictures = [Image.open(path) for path in sorted(folder.glob("*/*.png")) if path != folder / "faint" / "07.png"]
    pixels = milestone.preprocessing.pixels(pictures)
    found = {image.tobytes() for image in held_out.read(np.arange(len(held_out)))}
    again = ArrayImages(np.stack([image for image in pixels if image.tobytes() in found]))
    assert len(again) == len(held_out)
    assert np.allclose(embed_images(milestone.encoder, again, milestone.preprocessing)[1], by_file, atol=1e-5)

    size, options = images_of_run(client, run.info.run_id)
    assert dataset_spec(options, size).bit_depth == 12, "what `evaluate` opens is read as in the training"
    refused = sslmlflow("pretrain", *small, "--on_bad_image=stop")
    assert refused.returncode == 1
    assert "faint/07.png cannot be decoded" in refused.stderr
    assert len(client.search_runs(["0"])) == 1, "no run is made"


def test_runs_of_earlier_releases_are_evaluated_with_16_bits_and_the_defaults(
    new_database: NewDatabase, tmp_path: Path
) -> None:
    client = MlflowClient(new_database(tmp_path))
    run_id = client.create_run("0").info.run_id
    new = ("bit_depth", "max_megapixels", "on_bad_image", "max_bad_share")
    given = {name: text for name, text in texts_of(DataOptions(dataset="folder")).items() if name not in new}
    for name, text in {**given, "resolved/image_size": "32", "resolved/data_dir": "/images"}.items():
        client.log_param(run_id, name, text)
    _, options = images_of_run(client, run_id)
    assert options == DataOptions(dataset="folder", data_dir="/images", bit_depth="16")
    _, same = _training_images(client, Evaluate(), run_id)
    assert same == options
    _, other = _training_images(client, Evaluate(bit_depth="12", max_bad_share=0.0, on_bad_image="stop"), run_id)
    assert (other.bit_depth, other.max_bad_share, other.on_bad_image) == ("12", 0.0, "stop")
