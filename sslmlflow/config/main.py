"""Parameters of the entry point `main`."""

from dataclasses import dataclass

from sslmlflow.config.evaluate import ProbeOptions
from sslmlflow.config.options import option
from sslmlflow.config.pretrain import Pretrain


@dataclass(frozen=True)
class Main(ProbeOptions, Pretrain):
    """Pretrain, evaluate every milestone and report, in one run; small by default, so that it ends in minutes."""

    width: int = option(16, "channels of a ResNet's first stage; small here, so that a laptop suffices", minimum=4)
    epochs: int | None = option(20, "passes over the training images; auto: the method's recipe", minimum=1)
    milestone_every: int = option(
        2, "epochs between milestones; initialisation and the last are always kept", minimum=1
    )
