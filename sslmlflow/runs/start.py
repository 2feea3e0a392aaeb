"""Which milestone a fine-tuning starts from."""

from mlflow import MlflowClient
from mlflow.entities import LoggedModel

from sslmlflow.errors import ConfigError, UserError
from sslmlflow.metrics.catalogue import CRR_ADJUSTED
from sslmlflow.reporting.choice import choose_milestone
from sslmlflow.reporting.history import course_of
from sslmlflow.reporting.trainings import TRAININGS, latest_run
from sslmlflow.texts import printable
from sslmlflow.tracking.server import run_of
from sslmlflow.tracking.stored import KIND, epoch_of, milestones_of_run, model_of


def starting_milestone(client: MlflowClient, run: str | None, which: str) -> LoggedModel:
    """The milestone that `which` names (last, best, init, an epoch or a model id), of `run` or the latest training.

    `best` has the highest adjusted coding rate reduction: no label is asked. ConfigError or UserError if there is none.
    """
    if which.startswith("m-"):
        model = model_of(client, which)
        if model.tags.get("kind") != KIND:
            raise UserError(f"{which} is a model, but not a milestone of sslmlflow.")
        if run and model.source_run_id != run:
            raise UserError(f"milestone {which} is of run {model.source_run_id}, not of {run}: leave one of them out.")
        return model
    if not (which in ("last", "best", "init") or which.isdecimal()):
        raise ConfigError(
            f"milestone={which} is not possible. Allowed: last, best, init, an epoch, or a model id (m-…)."
        )
    run = str((run_of(client, run) if run else latest_run(client, TRAININGS)).info.run_id)
    milestones = {epoch_of(model): model for model in milestones_of_run(client, run)}
    if not milestones:
        raise UserError(f"run {run} has no milestones (yet). Name a run of pretrain or main.")
    epoch = _epoch(client, run, which, max(milestones))
    if epoch not in milestones:
        raise UserError(f"run {run} has no milestone of epoch {epoch}. It has: {', '.join(map(str, milestones))}.")
    print(f"from epoch {epoch} of {printable(client.get_run(run).info.run_name)}, run {run}")
    return milestones[epoch]


def _epoch(client: MlflowClient, run: str, which: str, last: int) -> int:
    if which == "best":
        chosen = choose_milestone(course_of(client, run), CRR_ADJUSTED).chosen
        if chosen is None:
            raise UserError(
                f"no milestone of run {run} has an adjusted coding rate reduction to choose by (the tags of the "
                "milestones say why). Give --milestone=last, or an epoch."
            )
        return chosen
    return {"last": last, "init": 0}[which] if not which.isdecimal() else int(which)
