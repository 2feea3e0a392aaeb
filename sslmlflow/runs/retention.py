"""Which milestones stay in MLflow while a training goes on; the others are deleted, weights and all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mlflow import MlflowClient

from sslmlflow.errors import ConfigError
from sslmlflow.evaluation.best import log_best
from sslmlflow.metrics.catalogue import CRR_ADJUSTED
from sslmlflow.tracking.logged_models import drop_milestone
from sslmlflow.tracking.spool import Spool


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


KEEP_ALL = Keep()


def settled(client: MlflowClient, run_id: str, keep: Keep = KEEP_ALL) -> Callable[[Spool], None]:
    """What is done once milestones have reached MLflow: those not to be kept go, and the best of the rest are told."""

    def settle(spool: Spool) -> None:
        values, models = spool.milestone_values(CRR_ADJUSTED), spool.model_ids()
        for epoch in keep.dropped({epoch: values.get(epoch) for epoch in spool.kept_milestones()}):
            drop_milestone(client, models[epoch])
            spool.milestone_dropped(epoch)
        log_best(client, run_id)  # the best is one of those that can be chosen

    return settle
