"""Which milestones stay in MLflow while a training goes on; the others are deleted, weights and all."""

from collections.abc import Callable, Mapping

from mlflow import MlflowClient

from sslmlflow.config.options import NONE
from sslmlflow.config.training import TrainingOptions
from sslmlflow.errors import ConfigError
from sslmlflow.evaluation.log_best import log_best
from sslmlflow.metrics.catalogue import CRR_ADJUSTED
from sslmlflow.tracking.logged_models import drop_milestone
from sslmlflow.tracking.spool import Spool


def dropped(keep: int | None, sent: Mapping[int, float | None]) -> set[int]:
    """Which of the milestones that MLflow has are to go; `sent` gives their adjusted CRR by epoch, if any.

    `keep` is the number of best ones that stay beside the first and the last; None: all stay.

    >>> sorted(dropped(1, {0: 1.0, 2: 5.0, 4: 3.0, 6: None, 8: 2.0}))
    [4, 6]
    """
    if keep is None or not sent:
        return set()
    rated = sorted((epoch for epoch in sent if sent[epoch] is not None), key=lambda e: (-(sent[e] or 0.0), e))
    return set(sent) - {min(sent), max(sent), *rated[:keep]}


def check_keep(options: TrainingOptions) -> None:
    """Raise ConfigError if the milestone at which training should have stopped might be deleted."""
    if options.keep is not None and options.stop_on not in (NONE, CRR_ADJUSTED):
        raise ConfigError(
            f"invalid value for keep: {options.keep} (must be all with stop_on={options.stop_on}: milestones with a "
            "lower adjusted CRR are deleted, and the one to return to may be among them)"
        )


def after_sending(client: MlflowClient, run_id: str, keep: int | None = None) -> Callable[[Spool], None]:
    """Return what to do once milestones have reached MLflow: delete those not kept, then log the best of the rest."""

    def update(spool: Spool) -> None:
        values, models = spool.milestone_values(CRR_ADJUSTED), spool.model_ids()
        for epoch in dropped(keep, {epoch: values.get(epoch) for epoch in spool.kept_milestones()}):
            drop_milestone(client, models[epoch])
            spool.milestone_dropped(epoch)
        log_best(client, run_id)  # the best is one of those that can be chosen

    return update
