"""Which milestones stay in MLflow while a training goes on; the others are deleted, weights and all."""

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from sslmlflow.errors import ConfigError


@dataclass(frozen=True)
class Keep:
    """The number of best milestones that stay beside the first and the last; None: all stay."""

    best: int | None = None

    def dropped(self, sent: Mapping[int, float | None]) -> set[int]:
        """Which of the milestones that MLflow has are to go; `sent` gives their adjusted CRR by epoch, if any.

        >>> sorted(Keep(best=1).dropped({0: 1.0, 2: 5.0, 4: 3.0, 6: None, 8: 2.0}))
        [4, 6]
        """
        if self.best is None or not sent:
            return set()
        rated = sorted((epoch for epoch in sent if sent[epoch] is not None), key=lambda e: (-(sent[e] or 0.0), e))
        return set(sent) - {min(sent), max(sent), *rated[: self.best]}


def read_keep(text: str) -> Keep:
    """What `keep` stands for; ConfigError for anything but all, last and best:K.

    >>> read_keep("best:3")
    Keep(best=3)
    """
    word, _, number = text.partition(":")
    if text in ("all", "last"):
        return Keep() if text == "all" else Keep(best=1)
    if word != "best" or not number.isdecimal() or int(number) < 1:
        raise ConfigError(f"keep={text} is not possible. Allowed: all, last, best:K with a whole number K above 0.")
    return Keep(best=int(number))


def drop_milestone(client: MlflowClient, model_id: str) -> None:
    """Delete a milestone and its files, unless it is registered; one that is deleted already, or by others, is done."""
    try:
        model = client.get_logged_model(model_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return
    if _is_registered(client, model):
        return
    # The files first: of a model that is deleted nobody knows any more where they are.
    get_artifact_repository(model.artifact_location).delete_artifacts()  # type: ignore[no-untyped-call]
    client.delete_logged_model(model_id)


def _is_registered(client: MlflowClient, model: LoggedModel) -> bool:
    """Whether the model registry has a version of it, by whatever way that came there."""
    if "mlflow.modelVersions" in model.tags:
        return True
    places = f"models:/{model.model_id}", model.artifact_location
    known = [f"tags.model_id = '{model.model_id}'", *(f"source_path = '{place}'" for place in places)]
    return any(client.search_model_versions(filter_string) for filter_string in known)
