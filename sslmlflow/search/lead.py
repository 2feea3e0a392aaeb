"""Leading and joining a study: the leader measures the untuned encoder, requeues lost trials, reports the outcome."""

import dataclasses
import time
from collections.abc import Sequence

import optuna
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from optuna.trial import FrozenTrial

from sslmlflow.config.tune import Tune
from sslmlflow.errors import UserError
from sslmlflow.search.accuracies import tell_accuracies
from sslmlflow.search.attributes import RANGES, RUNS, UNTUNED, UNTUNED_RUNS
from sslmlflow.search.limits import TuningMetrics
from sslmlflow.search.outcome import register_chosen, tell_outcome
from sslmlflow.search.space import Range, read_space
from sslmlflow.search.study import Seats
from sslmlflow.search.trial import Search
from sslmlflow.search.workers import Workers, close_runs, seed_of_process
from sslmlflow.tracking.liveness import reap, running
from sslmlflow.tracking.lock import is_busy, run_folder
from sslmlflow.tracking.patience import tried
from sslmlflow.tracking.run import TrackedRun, joined_run
from sslmlflow.tracking.server import run_of

POLL_SECONDS = 0.5


def join(config: Tune, client: MlflowClient, seats: Seats, parent: str, model: LoggedModel) -> None:
    """Take seats until none waits; the leader sees to the rest."""
    print(f"joining study {seats.study.study_name}, which run {parent} leads")
    while UNTUNED not in seats.study.user_attrs or not seats.waiting():
        led = run_of(client, parent).info.status == "RUNNING" and (not run_folder(parent).exists() or is_busy(parent))
        if not led:
            raise UserError(
                f"study {seats.study.study_name} has no trial to take, and nobody leads it any more. The same command "
                f"with --resume={parent} leads it from here, and a larger --trials extends it."
            )
        if UNTUNED in seats.study.user_attrs:
            return
        time.sleep(POLL_SECONDS)
    space = read_space(**seats.study.user_attrs[RANGES], search=config.search)
    search = Search(config, client, joined_run(client, parent), model, space)
    search.against(_untuned(seats.study))
    while seats.waiting():
        if taken := _take_one(config, seats, search, leads=False):
            search.tell([taken])


def lead(
    config: Tune,
    client: MlflowClient,
    seats: Seats,
    leading: TrackedRun,
    model: LoggedModel,
    space: Sequence[Range],
) -> None:
    """Search to the end of the study, choose without labels, and only then say what labels say of it."""
    study, search = seats.study, Search(config, client, leading, model, space)
    given = {part.name: getattr(config, part.name) for part in space}
    first = {part.name: given[part.name] for part in space if given[part.name] in part}
    before = seats.latest()
    seats.add(config.trials, first)
    outside = [f"{name} = {value:g}" for name, value in given.items() if name not in first and value is not None]
    _announce(config, seats, leading, before, outside)
    try:
        with Workers(config, leading, study.study_name, model):
            if UNTUNED not in study.user_attrs:
                done = study.user_attrs.get(UNTUNED_RUNS, [])
                found = search.tune_untuned(done, lambda runs: study.set_user_attr(UNTUNED_RUNS, runs))
                study.set_user_attr(UNTUNED, dataclasses.asdict(found))
            take_all(config, client, seats, search)
    except BaseException:
        # What a worker left that had to be killed; where the server is away, the next job sees to it.
        tried(lambda: reap(client, [run for run in running(client) if run.info.run_id != leading.run_id]))
        raise
    close_runs(client, leading)
    outcome = tell_outcome(client, seats, leading, space, search.key, _untuned(study), given)
    print(register_chosen(client, leading, outcome))
    if config.labels != "none":
        tell_accuracies(config, client, leading, model, outcome, study.user_attrs[UNTUNED_RUNS])


def _announce(
    config: Tune, seats: Seats, leading: TrackedRun, before: Sequence[FrozenTrial], outside: Sequence[str]
) -> None:
    """Say what is to be done, and what of the given will not be."""
    name, total = seats.study.study_name, max(config.trials, len(before))
    if before:
        done = sum(trial.state.is_finished() for trial in before)
        print(f"going on with study {name} in run {leading.run_id}: {done} of {total} trials are done")
    else:
        print(
            f"new study {name} in run {leading.run_id}: {total} trials of {config.epochs} epochs after the untuned one"
        )
    if config.trials < len(before):
        print(f"trials={config.trials} takes none away: the study has {len(before)}")
    if outside and not before:
        print(f"not tried first, since it lies outside its range: {', '.join(outside)}")


def take_all(config: Tune, client: MlflowClient, seats: Seats, search: Search) -> None:
    """Take seats until every one of the study is taken to its end, also those whose process died."""
    search.against(_untuned(seats.study))
    while True:
        # Asked first: what another process ends after that is still queued again or told below.
        ended = not seats.waiting() and not seats.running()
        requeued = seats.requeue()
        for lost in requeued:
            close_runs(client, None, lost.user_attrs.get(RUNS, []))
        search.tell(seats.latest())
        if ended and not requeued:
            return
        if seats.waiting():
            _take_one(config, seats, search, leads=True)
        else:
            time.sleep(POLL_SECONDS)


def _take_one(config: Tune, seats: Seats, search: Search, leads: bool) -> FrozenTrial | None:
    return seats.take(config.sampler, config.seed, seed_of_process(config.seed, seats.begun(), leads), search.objective)


def _untuned(study: optuna.Study) -> TuningMetrics:
    return TuningMetrics(**study.user_attrs[UNTUNED])
