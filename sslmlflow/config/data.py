"""Which images: parameters shared by every entry point that reads a data set."""

from dataclasses import dataclass

from sslmlflow.config.options import option

DATASET_NAMES = ("digit-scenes", "cifar10", "cifar100", "stl10", "folder")


@dataclass(frozen=True)
class DataOptions:
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
