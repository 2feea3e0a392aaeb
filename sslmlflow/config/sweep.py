"""Parameters of the entry point `sweep`."""

from dataclasses import dataclass

from sslmlflow.config.data import DataOptions
from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.config.monitor import MonitorOptions
from sslmlflow.config.options import again, option
from sslmlflow.config.training import MachineOptions, RunOptions

# Those of Xu, Lowe and Trappenberg, section III-D.
PAPER_MODELS = (
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
    *(f"efficientnet_b{size}" for size in range(8)),
)


@dataclass(frozen=True)
class Sweep(DataOptions, MonitorOptions, EvaluationOptions, MachineOptions):
    """Measure pretrained models as milestones are, and how well metrics correlate with linear probes across models."""

    models: tuple[str, ...] | None = option(
        None,
        "classification models of torchvision, or timm/NAME; auto: the paper's ResNets, DenseNets and EfficientNets, "
        "17 in all",
        items="names",
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
    entropy_width: float = again(EvaluationOptions, "entropy_width", 0.8)
    probe_lr: float = again(EvaluationOptions, "probe_lr", 0.003)
    probe_batch_size: int = again(EvaluationOptions, "probe_batch_size", 48)
    resume: str = again(RunOptions, "resume")
