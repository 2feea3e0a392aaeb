"""From the parameters of an entry point to the data set that they name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sslmlflow.config.data import DataOptions
from sslmlflow.data import open_images
from sslmlflow.data.source import DatasetSpec, ImageSets
from sslmlflow.home import home
from sslmlflow.rules import changed_rules, rule_texts


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
        bit_depth=None if config.bit_depth == "auto" else int(config.bit_depth),
        max_megapixels=config.max_megapixels,
        on_bad_image=config.on_bad_image,
        max_bad_share=config.max_bad_share,
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


def changed_since(about: Mapping[str, Any]) -> str:
    """A sentence on the rules for images that changed since a milestone was made, if any did; `about` describes it."""
    before = about["monitor"].get("rules", {})
    texts = {f"rules/{name}": str(version) for name, version in before.items()}
    images = {name: text for name, text in rule_texts().items() if name in ("rules/split", "rules/decoding")}
    changed = changed_rules(texts, images)
    return f"It was made by another build of sslmlflow, since which changed: {'; '.join(changed)}. " if changed else ""


def cache_folder() -> Path:
    """Where decoded images lie."""
    return home() / "cache"
