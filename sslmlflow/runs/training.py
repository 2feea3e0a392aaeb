"""What a training is, before it begins: its images are open, and every `auto` is settled."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sslmlflow.config.options import as_text
from sslmlflow.config.training import TrainingOptions
from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import ImageSets
from sslmlflow.encoders import EncoderSpec
from sslmlflow.errors import UserError
from sslmlflow.evaluation.monitor import Monitor
from sslmlflow.rules import rule_texts
from sslmlflow.runs.views import ViewBatches
from sslmlflow.training.batches import steps_per_epoch
from sslmlflow.training.device import Machine
from sslmlflow.training.loop import Plan
from sslmlflow.training.state import State
from sslmlflow.training.step import TakeStep


@dataclass(frozen=True)
class Training:
    """A training whose every `auto` is settled and whose images are open."""

    name: str  # of the run in the MLflow UI
    options: TrainingOptions
    machine: Machine
    sets: ImageSets
    encoder: EncoderSpec
    preprocessing: Preprocessing
    plan: Plan
    batches: ViewBatches
    monitor: Monitor
    about: dict[str, Any]  # what every milestone says of itself: method, its options, data set
    settled: dict[str, str]  # parameters that were not given, and what every `auto` became
    start: Callable[[], State]  # the state before the first step
    take_step: TakeStep
    begins_with: str | None = None  # the milestone in MLflow whose weights come first
    # Receives every milestone's epoch and metrics; raises PrunedError to stop the training.
    watch: Callable[[int, Mapping[str, float]], None] = lambda epoch, metrics: None
    measure_data: Callable[[], dict[str, float]] = dict  # metrics of the images, kept with the first milestone

    @property
    def data(self) -> dict[str, str]:
        """What the result is a function of, beside the parameters: images, versions of rules, what `auto` became."""
        became = {name: text for name, text in self.settled.items() if name != "resolved/data_dir"}
        return {**self.sets.fingerprints, **rule_texts(), **became}


def resolved(values: Mapping[str, object]) -> dict[str, str]:
    """What every `auto` became, as MLflow's table of parameters names it."""
    return {f"resolved/{name}": as_text(value) for name, value in values.items()}


def full_batches(images: int, batch_size: int) -> int:
    """How many batches make up an epoch; UserError where there is not one."""
    count = steps_per_epoch(images, batch_size)
    if count == 0:
        raise UserError(
            f"{images} training images do not fill one batch of {batch_size}. "
            f"Give --batch_size of at most {images}, or more images."
        )
    return count
