"""Which milestone a fine-tuning starts from."""

from mlflow import MlflowClient
from mlflow.entities import LoggedModel

from sslmlflow.errors import ConfigError, UserError
from sslmlflow.jobs.choice import choose_milestone
from sslmlflow.jobs.course import course_of
from sslmlflow.measures import CRR_ADJUSTED
from sslmlflow.texts import printable
from sslmlflow.tracking.milestones import KIND, epoch_of, milestones_of_run, model_of
from sslmlflow.tracking.run import ENTRY_POINT
from sslmlflow.tracking.server import current_experiment, run_of, whereabouts

TRAININGS = ("pretrain", "main")


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
    run = str(run_of(client, run).info.run_id) if run else _latest(client)
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


def _latest(client: MlflowClient) -> str:
    """The latest training that came to its end, or, where none did, the latest of all."""
    found = trainings(client)
    finished = [run_id for run_id in found if client.get_run(run_id).info.status == "FINISHED"]
    return (finished or found)[-1]


def trainings(client: MlflowClient) -> list[str]:
    """The trainings of the current experiment that have milestones, earliest first; UserError if there are none."""
    found = [
        run.info
        for entry_point in TRAININGS
        for run in client.search_runs([current_experiment(client)], f"tags.`{ENTRY_POINT}` = '{entry_point}'")
        if milestones_of_run(client, run.info.run_id)
    ]
    if not found:
        raise UserError(
            f"there are no milestones in {whereabouts(client)} yet. Run pretrain first, or name a run; "
            "a sweep is reported by --runs=ID of its run."
        )
    return [str(info.run_id) for info in sorted(found, key=lambda info: int(info.start_time))]
