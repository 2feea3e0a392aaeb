"""Parameters of the entry point `grid`."""

from dataclasses import dataclass

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.config.options import option
from sslmlflow.config.training import TrainingOptions
from sslmlflow.config.umm import UmmOptions


@dataclass(frozen=True)
class Grid(EvaluationOptions, UmmOptions, TrainingOptions):
    """Tune one milestone by UMM with each of several values of alpha, beta or eps, evaluate, and report."""

    over: str = option("alpha", "parameter of umm whose values are tried", choices=("alpha", "beta", "eps"))
    values: tuple[float, ...] | None = option(
        None, "the values; auto: 0, 0.01, 0.03, 0.1, 0.3, 1, 3, or for eps 0.1 to 0.9 by tenths", items="numbers"
    )
