"""Where a fine-tuning starts: a milestone, and the training that it is of."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel

from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.encoders import EncoderSpec
from sslmlflow.methods import Method
from sslmlflow.milestone.milestone import Milestone, load_method, untrained_method
from sslmlflow.texts import printable
from sslmlflow.tracking.logged_models import load_milestone


@dataclass(frozen=True)
class Origin:
    """What a milestone and its training say of themselves; its weights are with process 0 alone.

    The others need none: they are given the state before the first step.
    """

    about: dict[str, Any]
    model_id: str
    run_id: str  # of the training
    run_name: str
    params: dict[str, str]
    milestone: Milestone | None = None

    @classmethod
    def of(cls, client: MlflowClient, model: LoggedModel) -> "Origin":
        """That of a milestone in MLflow; UserError if its files cannot be read."""
        milestone, run = load_milestone(model.model_id), client.get_run(str(model.source_run_id))
        ids = model.model_id, run.info.run_id, printable(run.info.run_name)
        return cls(milestone.about, *ids, dict(run.data.params), milestone)

    def as_text(self) -> str:
        """The metadata that other processes receive, as JSON."""
        return json.dumps(asdict(replace(self, milestone=None)))

    @classmethod
    def from_text(cls, text: str) -> "Origin":
        """Undo `as_text`, but for the weights."""
        return cls(**json.loads(text))

    @property
    def preprocessing(self) -> Preprocessing:
        """How its images are normalised."""
        return Preprocessing.from_json(self.about["preprocessing"])

    def method(self, early: str | None) -> tuple[Method, EncoderSpec]:
        """The method as it was, its early part ending where `early` says; without weights, one that is as large."""
        return load_method(self.milestone, early) if self.milestone else untrained_method(self.about, early)
