"""Parameters of the entry point `pretrain`."""

from dataclasses import dataclass

from sslmlflow.config.data import DataOptions
from sslmlflow.config.methods import METHODS
from sslmlflow.config.monitor import MonitorOptions
from sslmlflow.config.options import NONE, option
from sslmlflow.config.training import ProcessOptions, TrainingOptions
from sslmlflow.config.views import ViewOptions

PRESET_NAMES = ("monitoring-paper", "small")
OPTIMISER_NAMES = ("sgd", "lars", "adamw")
SCHEDULE_NAMES = ("one-cycle", "warmup-cosine", "cosine", "constant", "exponential")


@dataclass(frozen=True)
class PretrainOptions(DataOptions, ViewOptions, MonitorOptions):
    """Training"""

    image_size: int | None = option(
        None, "side of the square images in pixels; auto: the data set's own, 32 for a folder", minimum=8
    )
    preset: str = option(
        "monitoring-paper",
        "what every auto becomes: the published recipes, or smaller ones for small data and machines",
        choices=PRESET_NAMES,
    )
    method: str = option("simclr", "self-supervised method", choices=METHODS)
    method_options: str | None = option(
        None, "the method's own settings, as name=value,name=value (docs/methods.md); auto: the preset's"
    )
    encoder: str = option(
        "resnet18", "resnet18, resnet50, any classification model of torchvision, or timm/ and a model of timm"
    )
    encoder_options: str | None = option(
        None,
        "settings of an encoder of timm, as name=value,name=value: patch_size, embed_dim, depth, num_heads, "
        "drop_path_rate; auto: timm's",
    )
    stem: str = option(
        "auto",
        "first layers of a ResNet; auto: cifar up to 64 px, imagenet above",
        choices=("auto", "cifar", "imagenet"),
    )
    width: int | None = option(None, "channels of a ResNet's first stage, published: 64; auto: the preset's", minimum=4)
    start: str = option(
        NONE,
        "weights to begin with: a milestone (its model id or folder), with its heads if the method is the same and "
        "they fit; or a .safetensors file of an encoder",
    )
    init: str = option(
        "random",
        "random; imagenet: the published weights of this encoder; or the name of other weights of torchvision "
        "(ResNet50_Weights.IMAGENET1K_V1) or timm (timm/resnet18.a1_in1k)",
    )
    epochs: int | None = option(
        None, "passes over the training images; auto: the preset's, else the method's recipe", minimum=1
    )
    batch_size: int | None = option(None, "images per step, each seen in two views; auto: the preset's", minimum=2)
    optimiser: str = option("auto", "auto: the method's recipe", choices=("auto", *OPTIMISER_NAMES))
    lr: float | None = option(
        None,
        "peak learning rate; auto: the preset's, which grows with the batch where the method's recipe says so",
        above=0,
    )
    weight_decay: float | None = option(None, "weight decay; auto: the method's recipe", minimum=0)
    weight_decay_end: float | None = option(
        None,
        "weight decay at the end, approached by half a cosine; auto: the recipe's, mostly that of the start",
        minimum=0,
    )
    clip: float | None = option(None, "maximum norm of the gradient, 0: no limit; auto: the method's recipe", minimum=0)
    schedule: str = option(
        "auto", "course of the learning rate; auto: the method's recipe", choices=("auto", *SCHEDULE_NAMES)
    )
    warmup_epochs: int = option(
        10, "linear warm-up of schedule=warmup-cosine; of schedule=auto at most a tenth of the epochs", minimum=0
    )
    milestone_every: int | None = option(
        None, "epochs between milestones, initialisation and the last being kept too; auto: the preset's", minimum=1
    )


@dataclass(frozen=True)
class Pretrain(PretrainOptions, TrainingOptions, ProcessOptions):
    """Train an encoder without labels, with milestones."""
