"""Which images: parameters shared by every entry point that reads a data set."""

from dataclasses import dataclass

from sslmlflow.config.options import option

BIT_DEPTHS = ("8", "10", "12", "16")
DATASET_NAMES = ("digit-scenes", "cifar10", "cifar100", "stl10", "folder")


@dataclass(frozen=True)
class DataOptions:
    """Images"""

    dataset: str = option("digit-scenes", "data set to open", choices=DATASET_NAMES)
    data_dir: str | None = option(
        None,
        "folder of the images (dataset=folder), or where downloaded archives lie; auto: under SSLMLFLOW_HOME",
        changes_result=False,
    )
    download: bool = option(False, "fetch the data set if it is not there yet", changes_result=False)
    max_train_images: int | None = option(
        None, "use a fixed random subset of the training images; auto: all", minimum=2
    )
    max_test_images: int | None = option(None, "use a fixed random subset of the held-out images; auto: all", minimum=2)
    data_seed: int = option(0, "seed of the subsets and of a folder's split", minimum=0)
    bit_depth: str = option(
        "auto",
        "bits that gray images of 16 or 32 bits use (dataset=folder); auto: the fewest that hold every value",
        choices=("auto", *BIT_DEPTHS),
        changes_result=False,  # it does, and is seen in the images' fingerprints; so do the next ones
    )
    max_megapixels: float = option(
        64.0, "a larger image is a bad one (dataset=folder)", above=0, maximum=100_000, changes_result=False
    )
    on_bad_image: str = option(
        "skip",
        "what to do with a file that cannot be decoded (dataset=folder): skip it, or stop",
        choices=("skip", "stop"),
        changes_result=False,
    )
    max_bad_share: float = option(
        0.01,
        "stop if more than this share of a folder's files cannot be decoded",
        minimum=0,
        maximum=1,
        changes_result=False,
    )
