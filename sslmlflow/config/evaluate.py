"""Parameters of the entry point `evaluate`."""

from dataclasses import dataclass

from sslmlflow.config.data import BIT_DEPTHS, DATASET_NAMES, DataOptions
from sslmlflow.config.options import option
from sslmlflow.config.training import MachineOptions, ProcessOptions

PROBE_NAMES = ("autoaugment", "plain")


@dataclass(frozen=True)
class EvaluationOptions:
    """Evaluation"""

    probe: str = option(
        "autoaugment",
        "training images of the paper's linear probe: augmented anew each epoch (the paper's recipe), or embedded once",
        choices=PROBE_NAMES,
    )
    labels: str = option(
        "auto", "auto: use labels where the data set has them; none: ignore them", choices=("auto", "none")
    )
    clusters: int = option(
        10,
        "clusters of the k-means; the paper takes the number of classes, which is unknown without labels",
        minimum=2,
    )
    entropy_width: float = option(
        0.4,
        "width of the entropy's bins in standard deviations; 0.8 suits encoders pretrained with labels",
        above=0,
    )
    probe_lr: float = option(
        0.08, "peak learning rate of the linear probe; 0.003 suits encoders pretrained with labels", above=0
    )
    probe_batch_size: int = option(256, "batch size of the linear probe", minimum=1)
    sgd_probe: bool = option(
        False, "measure the linear probe of the UMM paper, too: SGD for 500 epochs, its accuracy and its top-5 accuracy"
    )
    evaluation_seed: int = option(0, "seed of UMAP, k-means and the linear probe", minimum=0, maximum=10**9)


@dataclass(frozen=True)
class Evaluate(EvaluationOptions, MachineOptions, ProcessOptions, DataOptions):
    """Measure the milestones of a run: clusters and entropy, and with labels linear probes and 5-NN."""

    dataset: str = option(
        "auto",
        "data set to evaluate on; auto: the one the milestone was trained on",
        choices=("auto", *DATASET_NAMES),
    )
    data_seed: int | None = option(  # type: ignore[assignment]
        None, "seed of the subsets and of a folder's split; auto: the one the milestone was trained with", minimum=0
    )
    bit_depth: str = option(
        "auto",
        "bits that gray images of 16 or 32 bits use (dataset=folder); auto: as in the training",
        choices=("auto", *BIT_DEPTHS),
    )
    max_megapixels: float | None = option(  # type: ignore[assignment]
        None, "a larger image is a bad one (dataset=folder); auto: as in the training", above=0, maximum=100_000
    )
    on_bad_image: str = option(
        "auto",
        "what to do with a file that cannot be decoded (dataset=folder): skip it, or stop; auto: as in the training",
        choices=("auto", "skip", "stop"),
    )
    max_bad_share: float | None = option(  # type: ignore[assignment]
        None,
        "stop if more than this share of a folder's files cannot be decoded; auto: as in the training",
        minimum=0,
        maximum=1,
    )
    run: str | None = option(
        None,
        "run id whose milestones to evaluate; auto: the latest finished training or tuning, with follow the running",
    )
    milestones: tuple[str, ...] | None = option(None, "single milestones; auto: all of the run", items="model ids")
    follow: bool = option(False, "wait for further milestones while the run is still training")
