"""How a training runs and what is kept of it: parameters shared by every entry point that trains."""

from dataclasses import dataclass

from sslmlflow.config.options import NONE, option, spelled
from sslmlflow.metrics.catalogue import LIVE_CRITERIA

MEMORISATION = "memorisation"
NO_WAS_NONE = spelled({"no": NONE})


@dataclass(frozen=True)
class MachineOptions:
    """Machine"""

    device: str = option("auto", "where to compute: auto, cpu, cuda, cuda:1, mps")


@dataclass(frozen=True)
class RunOptions(MachineOptions):
    """Run"""

    precision: str = option(
        "auto",
        "auto: bf16 where the device has it in hardware, else float32",
        choices=("auto", "float32", "bf16"),
    )
    seed: int = option(0, "seed of initialisation, order and views", minimum=0)
    workers: int = option(0, "processes that read images ahead", minimum=0, changes_result=False)
    keep: int | None = option(
        None,
        "number of milestones with the highest adjusted CRR that stay in MLflow, in addition to the first and the last",
        minimum=1,
        null="all",
        earlier=lambda text: "1" if text == "last" else text.removeprefix("best:"),
        changes_result=False,
    )
    checkpoint_minutes: float = option(
        10.0, "save a resume checkpoint this often, and after every epoch", above=0, changes_result=False
    )
    resume: str = option(
        NONE,
        "none, auto (the last unfinished run of the same job), or a run id",
        earlier=NO_WAS_NONE,
        changes_result=False,
    )


@dataclass(frozen=True)
class ProcessOptions:
    """Several processes"""

    processes: int | None = option(
        1,
        "processes of this machine that share the work, each on a GPU if there are any; auto: one per GPU",
        minimum=1,
        changes_result=False,
    )


@dataclass(frozen=True)
class TrainingOptions(RunOptions):
    """Stopping early"""

    stop_on: str = option(
        NONE,
        "stop when this label-free metric has not become better for `patience` milestones; memorisation: when as many "
        "milestones in a row are better on training images than on held-out ones (docs/metrics.md)",
        choices=(NONE, MEMORISATION, *LIVE_CRITERIA),
        earlier=NO_WAS_NONE,
    )
    patience: int = option(5, "milestones that stop_on waits for", minimum=1)
