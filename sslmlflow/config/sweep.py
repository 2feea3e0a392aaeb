"""Parameters of the entry point `sweep`."""

from dataclasses import dataclass

from sslmlflow.config.data import DataOptions
from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.config.options import option
from sslmlflow.config.training import MachineOptions

# Those of Xu, Lowe and Trappenberg, section III-D.
PAPER_MODELS = (
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
    *(f"efficientnet_b{size}" for size in range(8)),
)


@dataclass(frozen=True)
class Sweep(EvaluationOptions, MachineOptions, DataOptions):
    """Measure pretrained models by the metrics of milestones, and how far these go with linear probes across models."""

    models: str | None = option(
        None,
        "classification models of torchvision, or timm/NAME, separated by commas; auto: the paper's ResNets, DenseNets "
        "and EfficientNets, 17 in all",
    )
    weights: str = option(
        "published",
        "published: those that torchvision or timm recommends, from cache or download; random: none, to compare with",
        choices=("published", "random"),
    )
    image_size: int | None = option(
        None, "side in pixels to which images are scaled; auto: that on which each model was trained", minimum=8
    )
    batch_size: int = option(48, "images embedded at once", minimum=1)
    monitor_images: int = option(2000, "held-out images on which the coding rates are measured", minimum=4)
    eps: float = option(0.5, "distortion of the coding rate (not squared)", above=0)
    entropy_width: float = option(
        0.8, "width of the entropy's bins in standard deviations; 0.4 for encoders trained without labels", above=0
    )
    probe_lr: float = option(0.003, "peak learning rate of the linear probe", above=0)
    probe_batch_size: int = option(48, "batch size of the linear probe", minimum=1)
    resume: str = option(
        "no", "no, auto (this sweep's last run that was not finished), or a run id", changes_result=False
    )
