"""Parameters of the entry point `main`."""

from dataclasses import dataclass

from sslmlflow.config.evaluate import ProbeOptions
from sslmlflow.config.options import option
from sslmlflow.config.pretrain import Pretrain


@dataclass(frozen=True)
class Main(ProbeOptions, Pretrain):
    """Pretrain, evaluate every milestone and report, in one run; its defaults suit a small data set and machine."""

    width: int = option(8, "channels of a ResNet's first stage; 64 is the published one", minimum=4)
    epochs: int | None = option(16, "passes over the training images; auto: the method's recipe", minimum=1)
    batch_size: int = option(64, "images per step, each seen in two views", minimum=2)
    lr: float | None = option(0.3, "peak learning rate; auto: the method's recipe", above=0)
    method_options: str | None = option(
        "temperature=0.2", "the method's own settings, as name=value,name=value (docs/methods.md); auto: its recipe"
    )
    milestone_every: int = option(
        2, "epochs between milestones; initialisation and the last are always kept", minimum=1
    )
    probe: str = option(
        "plain",
        "training images of the paper's linear probe: augmented anew each epoch (its recipe), or embedded once (fast)",
        choices=("autoaugment", "plain"),
    )
