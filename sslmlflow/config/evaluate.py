"""Parameters of the entry point `evaluate`."""

from dataclasses import dataclass

from sslmlflow.config.data import DATASET_NAMES, DataOptions
from sslmlflow.config.options import option
from sslmlflow.config.pretrain import MachineOptions

PROBE_NAMES = ("autoaugment", "plain")


@dataclass(frozen=True)
class ProbeOptions:
    probe: str = option(
        "autoaugment",
        "training images of the paper's linear probe: augmented anew each epoch (the paper's recipe), or embedded once",
        choices=PROBE_NAMES,
    )
    labels: str = option(
        "auto", "auto: use labels where the data set has them; none: ignore them", choices=("auto", "none")
    )
    probe_seed: int = option(0, "seed of the probe's initialisation, order and augmentation", minimum=0)


@dataclass(frozen=True)
class Evaluate(ProbeOptions, MachineOptions, DataOptions):
    """Measure the milestones of a run with labels: linear probes and 5-NN."""

    dataset: str = option(
        "auto",
        "data set to evaluate on; auto: the one the milestone was trained on",
        choices=("auto", *DATASET_NAMES),
    )
    data_seed: int | None = option(  # type: ignore[assignment]
        None, "seed of the subsets and of a folder's split; auto: the one the milestone was trained with", minimum=0
    )
    run: str | None = option(
        None, "run id whose milestones to evaluate; auto: the experiment's latest run with milestones"
    )
    milestones: str | None = option(
        None, "model ids of single milestones, separated by commas; auto: all milestones of the run"
    )
    follow: bool = option(False, "wait for further milestones while the run is still training")
