"""From the parameters of an entry point to the data set that they name."""

from pathlib import Path

from mlflow import MlflowClient

from sslmlflow.config.data import DataOptions
from sslmlflow.config.options import options_of, read_config
from sslmlflow.data import open_images
from sslmlflow.data.source import DatasetSpec, ImageSets
from sslmlflow.errors import UserError
from sslmlflow.home import home
from sslmlflow.tracking.server import run_of


def dataset_spec(config: DataOptions, image_size: int | None = None, labels: str = "auto") -> DatasetSpec:
    """Which images and how many, from the shared parameters."""
    given = Path(config.data_dir).expanduser().absolute() if config.data_dir else None
    downloads = None if config.dataset == "folder" else home() / "data"
    return DatasetSpec(
        name=config.dataset,
        folder=given or downloads,
        download=config.download,
        image_size=image_size,
        max_train=config.max_train_images,
        max_test=config.max_test_images,
        seed=config.data_seed,
        labels=labels,
    )


def open_and_tell(spec: DatasetSpec) -> ImageSets:
    """Open the images and print what was found."""
    sets = open_images(spec, cache_folder())
    for note in sets.notes:
        print(note)
    channels, height, width = sets.train.shape
    held_out = f"{len(sets.test):,} held out"
    if sets.validation is not None:
        held_out = f"{len(sets.test):,} to score on, {len(sets.validation):,} to monitor on"
    print(
        f"{sets.name}: {len(sets.train):,} images to train on, {held_out}, "
        f"{height} x {width}, {'gray' if channels == 1 else 'colour'}"
    )
    return sets


def images_of_run(client: MlflowClient, run_id: str) -> tuple[int, DataOptions]:
    """Size and choice of the images that a run was trained on; UserError if it is not a training."""
    params = run_of(client, run_id).data.params
    if "resolved/image_size" not in params:
        raise UserError(f"run {run_id} is not a training of sslmlflow, or has not started yet.")
    given = {name: params[name] for name in options_of(DataOptions)}
    # MLflow logs what it was given in the quotes of its shell; only this one can hold something to quote.
    options = read_config(DataOptions, {**given, "data_dir": params["resolved/data_dir"]})
    return int(params["resolved/image_size"]), options


def cache_folder() -> Path:
    """Where decoded images lie."""
    return home() / "cache"
