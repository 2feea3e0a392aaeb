"""Parameters of the entry point `main`."""

from dataclasses import dataclass

from sslmlflow.config.evaluate import PROBE_NAMES, EvaluationOptions
from sslmlflow.config.options import option
from sslmlflow.config.pretrain import PRESET_NAMES, Pretrain
from sslmlflow.config.report import ReportOptions


@dataclass(frozen=True)
class Main(Pretrain, EvaluationOptions, ReportOptions):
    """Pretrain, evaluate every milestone and report, in one run; its defaults suit a small data set and machine."""

    preset: str = option(
        "small",
        "what every auto becomes: the published recipes, or smaller ones for small data and machines",
        choices=PRESET_NAMES,
    )
    probe: str = option(
        "auto",
        "training images of the paper's linear probe: augmented anew each epoch (its recipe), or embedded once "
        "(fast); auto: the preset's",
        choices=("auto", *PROBE_NAMES),
    )
