"""How a training runs and what is kept of it: parameters shared by every entry point that trains."""

from dataclasses import dataclass

from sslmlflow.config.options import option
from sslmlflow.metrics.catalogue import LIVE_CRITERIA

MEMORISATION = "memorisation"


@dataclass(frozen=True)
class MachineOptions:
    device: str = option("auto", "where to compute: auto, cpu, cuda, cuda:1, mps")


@dataclass(frozen=True)
class RunOptions(MachineOptions):
    precision: str = option(
        "auto",
        "auto: bf16 where the device has it in hardware, else float32",
        choices=("auto", "float32", "bf16"),
    )
    seed: int = option(0, "seed of initialisation, order and views", minimum=0)
    workers: int = option(0, "processes that read images ahead", minimum=0, changes_result=False)
    keep: str = option(
        "all",
        "milestones that MLflow keeps: all, last, or best:K, the K with the highest adjusted CRR; the first, the last "
        "and the best always stay",
        changes_result=False,
    )
    checkpoint_minutes: float = option(
        10.0, "save a resume checkpoint this often, and after every epoch", above=0, changes_result=False
    )
    resume: str = option("no", "no, auto (this training's last unfinished run), or a run id", changes_result=False)


@dataclass(frozen=True)
class TrainingOptions(RunOptions):
    stop_on: str = option(
        "no",
        "stop when this label-free metric has not become better for `patience` milestones; memorisation: when as many "
        "milestones in a row are better on training images than on held-out ones (docs/metrics.md)",
        choices=("no", MEMORISATION, *LIVE_CRITERIA),
    )
    patience: int = option(5, "milestones that stop_on waits for", minimum=1)
