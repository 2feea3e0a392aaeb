"""Entry point `tune`: search parameters of UMM by a label-free metric, in one process or many, on one machine or many.

One process leads: it makes the parent run, measures the untuned encoder, queues again what dead processes left, and
tells what came out. All others only take seats of the study until none waits.
"""

import dataclasses
import os
import time
from collections.abc import Sequence

import optuna
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from optuna.trial import FrozenTrial

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.config.options import deciding_texts, options_of, texts_of
from sslmlflow.config.tune import Tune, as_umm
from sslmlflow.digests import digest
from sslmlflow.errors import ConfigError, UserError
from sslmlflow.files import private_database
from sslmlflow.home import home
from sslmlflow.metrics.catalogue import LIVE_CRITERIA, MEASURES
from sslmlflow.rules import changed_rules
from sslmlflow.runs.start import starting_milestone
from sslmlflow.runs.train import Training, resolved
from sslmlflow.runs.umm import balance_at_start, prepare
from sslmlflow.search.accuracies import tell_accuracies
from sslmlflow.search.attributes import RUNS
from sslmlflow.search.limits import TuningMetrics
from sslmlflow.search.outcome import UNTUNED_RUNS, register_chosen, tell_outcome
from sslmlflow.search.pruning import SoundMedianPruner
from sslmlflow.search.space import Range, around, read_space
from sslmlflow.search.study import Seats, check_address
from sslmlflow.search.trial import Search, key_of
from sslmlflow.search.workers import JOINS, Workers, close_runs, seed_of_process
from sslmlflow.tracking.liveness import reap, running
from sslmlflow.tracking.lock import is_busy, run_folder
from sslmlflow.tracking.patience import tried
from sslmlflow.tracking.run import TrackedRun, joined_run, tracked_run
from sslmlflow.tracking.server import check_experiment, connect, is_there, run_of

PARENT, SETTINGS, UNTUNED, RANGES = "run", "settings", "untuned", "ranges"  # attributes of a study
STUDY = "resolved/study"  # parameter of the study's run
POLL_SECONDS, PATIENCE_SECONDS = 0.5, 30.0


def run(config: Tune) -> None:
    """Search from the command line or `mlflow run`."""
    _check(config)
    client = connect()
    check_experiment(client)
    model = starting_milestone(client, config.run, config.milestone)
    training = prepare(client, as_umm(config), model)  # a mistake in what is asked for makes no run
    training.monitor.warn_of_few_images()
    settings = _settings(config, model, training)
    url = config.storage or f"sqlite:///{private_database(home() / 'studies.db')}"
    lower_is_better = MEASURES[key_of(config.objective)].lower_is_better
    name = config.study or _study_of(client, config.resume) or f"umm-{digest(settings)[:12]}"
    seats = Seats(url, name, lower_is_better, config.heartbeat)
    study = seats.study
    study.pruner = SoundMedianPruner()
    parent = None if seats.new else _parent(client, study)
    _check_settings(study, settings)
    if config.resume not in ("no", "auto", parent):
        raise UserError(f"study {study.study_name} is not that of run {config.resume}: its run is {parent}.")
    if JOINS in os.environ or (parent and not _leads(parent, config.resume)):
        _join(config, client, seats, str(parent), model)
        return
    # Where the maker of a study died before it had a run, `auto` finds what it had begun.
    decides = {**settings, "study": study.study_name}
    with tracked_run("tune", config, f"tune {training.name}", parent or "auto", deciding=decides) as leading:
        study.set_user_attr(PARENT, leading.run_id)
        leading.set_tags({"mlflow.parentRunId": str(model.source_run_id)})
        leading.log_missing_params({STUDY: study.study_name, "resolved/milestone": model.model_id})
        _lead(config, client, seats, leading, model, _space(config, leading, study, training))


def _check(config: Tune) -> None:
    if config.variant == "continuation":
        raise ConfigError("variant=continuation is not possible: alpha and beta have no part in it, nothing to search.")
    if config.storage:
        check_address(config.storage)
    read_space(config.alpha_range, config.beta_range, config.search)


def _space(config: Tune, leading: TrackedRun, study: optuna.Study, training: Training) -> list[Range]:
    """The ranges that are searched; those of alpha and beta that are `auto` are found once and kept in the study."""
    if RANGES not in study.user_attrs:
        ranges = {"alpha": config.alpha_range, "beta": config.beta_range}
        if wanted := [name for name, text in ranges.items() if text is None]:
            found = balance_at_start(wanted, config, training)
            weights = " and ".join(f"{name} = {value:.3g}" for name, value in found.items())
            print(f"equal gradients before the first step: {weights}")
            ranges = {name: text or around(found[name]) for name, text in ranges.items()}
        study.set_user_attr(RANGES, ranges)
    ranges = study.user_attrs[RANGES]
    leading.log_missing_params(resolved({f"{name}_range": text for name, text in ranges.items()}))
    space = read_space(**ranges, search=config.search)
    print(f"searched: {', '.join(map(str, space))}")
    return space


def _study_of(client: MlflowClient, resume: str) -> str | None:
    """The study whose run is to be gone on with, where one is named."""
    if resume in ("no", "auto"):
        return None
    name = run_of(client, resume).data.params.get(STUDY)
    if name is None:
        raise UserError(f"resume={resume} is not possible: that run is not a study's. Allowed: no, or one that is.")
    return str(name)


def _leads(parent: str, resume: str) -> bool:
    """Whether this process is to lead a study that was there before: where it was led, or where that is asked for."""
    return not is_busy(parent) and (run_folder(parent).exists() or resume == parent)


def _join(config: Tune, client: MlflowClient, seats: Seats, parent: str, model: LoggedModel) -> None:
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


def _lead(
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
            _take_all(config, client, seats, search)
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


def _take_all(config: Tune, client: MlflowClient, seats: Seats, search: Search) -> None:
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


def _parent(client: MlflowClient, study: optuna.Study) -> str | None:
    """The run that leads a study which was there before; None if whoever made the study died before there was one."""
    patience = time.monotonic() + PATIENCE_SECONDS
    if PARENT not in study.user_attrs:
        print(f"waiting for the process that is beginning study {study.study_name}")
    while PARENT not in study.user_attrs and time.monotonic() < patience:
        time.sleep(POLL_SECONDS)
    parent = study.user_attrs.get(PARENT)
    if parent and not is_there(client, parent):
        raise UserError(
            f"study {study.study_name} belongs to run {parent}, which this tracking server does not have (any more). "
            "Set MLFLOW_TRACKING_URI to the server on which it began, or begin another study by --study=NAME."
        )
    return parent


def _settings(config: Tune, model: LoggedModel, training: Training) -> dict[str, str]:
    """Everything besides the searched values that a trial's value depends on."""
    left_out = {"run", "milestone", "precision"}  # settled below
    left_out |= {"labels", "probe"}  # labels come after the search
    if key_of(config.objective) in LIVE_CRITERIA:
        left_out |= set(options_of(EvaluationOptions))
    texts = {name: text for name, text in deciding_texts(config).items() if name not in left_out}
    return {
        **texts,
        "milestone it starts from": model.model_id,
        "settled precision": training.machine.precision,
        "held-out images and how they are measured": training.monitor.digest,
        **training.data,
    }


def _check_settings(study: optuna.Study, settings: dict[str, str]) -> None:
    """Keep a study's settings, or refuse others: its values could not be compared."""
    known = study.user_attrs.get(SETTINGS)
    if known is None:
        study.set_user_attr(SETTINGS, settings)
        return
    if rules := changed_rules(known, settings):
        raise UserError(
            f"study {study.study_name} cannot be extended: it was begun by another build of sslmlflow, and since then "
            f"a rule has changed: {'; '.join(rules)}. Its values could not be compared with each other. Begin another "
            "study by --study=NAME, or extend it with the build that began it."
        )
    known = {**texts_of(Tune()), **known}  # an option that did not exist when the study began had its default
    changed = [name for name in settings if known.get(name) != settings[name]]
    if changed:
        told = "; ".join(f"{name} was {known.get(name)}, now {settings[name]}" for name in changed)
        raise UserError(
            f"study {study.study_name} cannot go on with other settings: {told}. Give the same, or begin another study "
            "by --study=NAME."
        )
