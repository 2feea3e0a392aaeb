"""Entry point `tune`: search parameters of UMM by a label-free metric, in one process or many, on one machine or many.

One process leads: it makes the parent run, measures the untuned encoder, queues again what dead processes left, and
tells what came out. All others only take seats of the study until none waits.
"""

import os
import time

import optuna
from mlflow import MlflowClient

from sslmlflow.config.options import NONE
from sslmlflow.config.tune import Tune, as_umm
from sslmlflow.errors import ConfigError, UserError
from sslmlflow.files import private_database
from sslmlflow.home import home
from sslmlflow.metrics.catalogue import CATALOGUE
from sslmlflow.runs.origin import Origin
from sslmlflow.runs.start import starting_milestone
from sslmlflow.runs.umm import prepare
from sslmlflow.search.attributes import PARENT
from sslmlflow.search.lead import join, lead
from sslmlflow.search.pruning import SoundMedianPruner
from sslmlflow.search.settings import check_settings, default_name, earlier_name, settings_of, space_of
from sslmlflow.search.space import read_space
from sslmlflow.search.study import Seats, check_address, is_study
from sslmlflow.search.workers import JOINS
from sslmlflow.tracking.lock import is_busy, run_folder
from sslmlflow.tracking.run import tracked_run
from sslmlflow.tracking.server import check_experiment, connect, is_there, run_of

STUDY = "resolved/study"  # parameter of the study's run
POLL_SECONDS, PATIENCE_SECONDS = 0.5, 30.0


def run(config: Tune) -> None:
    """Search from the command line or `mlflow run`."""
    _check(config)
    client = connect()
    check_experiment(client)
    model = starting_milestone(client, config.run, config.milestone)
    training = prepare(as_umm(config), Origin.of(client, model))  # a mistake in what is asked for makes no run
    training.monitor.warn_of_few_images()
    settings = settings_of(config, model, training)
    url = config.storage or f"sqlite:///{private_database(home() / 'studies.db')}"
    lower_is_better = CATALOGUE[config.objective].lower_is_better
    name = config.study or _study_of(client, config.resume) or default_name(settings)
    if name == default_name(settings) and is_study(url, earlier_name(settings)):
        name = earlier_name(settings)
    seats = Seats(url, name, lower_is_better, config.heartbeat)
    study = seats.study
    study.pruner = SoundMedianPruner()
    parent = None if seats.new else _parent(client, study)
    check_settings(study, settings)
    if config.resume not in (NONE, "auto", parent):
        raise UserError(f"study {study.study_name} is not that of run {config.resume}: its run is {parent}.")
    if JOINS in os.environ or (parent and not _leads(parent, config.resume)):
        join(config, client, seats, str(parent), model)
        return
    # Where the maker of a study died before it had a run, `auto` finds what it had begun.
    decides = {**settings, "study": study.study_name}
    with tracked_run("tune", config, f"tune {training.name}", parent or "auto", deciding=decides) as leading:
        study.set_user_attr(PARENT, leading.run_id)
        leading.set_tags({"mlflow.parentRunId": str(model.source_run_id)})
        leading.log_missing_params({STUDY: study.study_name, "resolved/milestone": model.model_id})
        lead(config, client, seats, leading, model, space_of(config, leading, study, training))


def _check(config: Tune) -> None:
    if config.variant == "continuation":
        raise ConfigError("variant=continuation is not possible: alpha and beta have no part in it, nothing to search.")
    if config.storage:
        check_address(config.storage)
    read_space(config.alpha_range, config.beta_range, config.search)


def _study_of(client: MlflowClient, resume: str) -> str | None:
    """The study whose run is to be gone on with, where one is named."""
    if resume in (NONE, "auto"):
        return None
    name = run_of(client, resume).data.params.get(STUDY)
    if name is None:
        raise UserError(f"resume={resume} is not possible: that run is not a study's. Allowed: none, or one that is.")
    return str(name)


def _leads(parent: str, resume: str) -> bool:
    """Whether this process is to lead a study that was there before: where it was led, or where that is asked for."""
    return not is_busy(parent) and (run_folder(parent).exists() or resume == parent)


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
