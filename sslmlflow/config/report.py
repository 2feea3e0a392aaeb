"""Parameters of the entry point `report`."""

from dataclasses import dataclass

from sslmlflow.config.options import option
from sslmlflow.metrics.catalogue import CRITERIA, CRR_ADJUSTED


@dataclass(frozen=True)
class ReportOptions:
    """Report"""

    criterion: str = option(CRR_ADJUSTED, "label-free metric whose best value chooses a milestone", choices=CRITERIA)
    register: bool = option(
        True, "register the chosen milestone of a run, if the criterion separates it from the others"
    )


@dataclass(frozen=True)
class Report(ReportOptions):
    """Compare the metrics of milestones with their probe accuracies, and choose a milestone without labels."""

    runs: tuple[str, ...] | None = option(
        None,
        "trainings or tunings, or one sweep; auto: every training of the experiment that has milestones, finished or "
        "not, and no tuning",
        items="run ids",
    )
