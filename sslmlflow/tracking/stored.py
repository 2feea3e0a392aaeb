"""Milestones as the tracking server lists them: found by run, with their metrics; no weights and no torch.

What belongs to many runs is asked for in batches, so that the number of requests does not grow with runs x milestones.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModel, LoggedModelStatus, Run, ViewType
from mlflow.exceptions import MlflowException

from sslmlflow.errors import UserError, in_short
from sslmlflow.milestone.file_names import ABOUT_FILE
from sslmlflow.texts import printable
from sslmlflow.tracking.notes import note
from sslmlflow.tracking.server import is_there, run_of, whole

T = TypeVar("T")

KIND = "milestone"
CLUSTERED, PROBED = "sslmlflow.clustered", "sslmlflow.probed"  # tags that name the run that measured it
DEVIATIONS = "sslmlflow.crr_adjusted_deviations"  # tag: one number for each half of the images, as JSON
SPECTRA_FILE = "spectra/{digest}/epoch-{epoch:06d}.json"  # artifact of the run that measured them
AT_ONCE = 50  # runs named in one request, and models in one reply


def milestones_of_run(client: MlflowClient, run_id: str) -> list[LoggedModel]:
    """The finished milestones of a run, by epoch."""
    (((_, found),),) = milestones_of_runs(client, [client.get_run(run_id)])
    return found


def milestones_of_runs(client: MlflowClient, runs: Sequence[Run]) -> Iterator[list[tuple[Run, list[LoggedModel]]]]:
    """Each run with its finished milestones by epoch, in the order of the runs; as many at once as are fetched."""
    for some in _batches(runs):
        found: dict[str, list[LoggedModel]] = {run.info.run_id: [] for run in some}
        of_runs = f"tags.kind = '{KIND}' AND source_run_id IN ({_listed(found)})"
        experiments = list({run.info.experiment_id for run in some})
        for model in whole(partial(client.search_logged_models, experiments, of_runs, max_results=AT_ONCE)):
            if model.status == LoggedModelStatus.READY and _has_epoch(model):
                found[str(model.source_run_id)].append(model)
        yield [(run, sorted(found[run.info.run_id], key=epoch_of)) for run in some]


def runs_by_id(
    client: MlflowClient, run_ids: Iterable[str], experiments: Iterable[str], passing_over: bool = False
) -> dict[str, Run]:
    """Runs by id, the deleted ones too; `experiments` are those in which most of them are.

    Raises:
        UserError: the tracking server does not have one of them, and that is not to be passed over.
    """
    wanted, searched = list(dict.fromkeys(run_ids)), list(set(experiments))
    found: dict[str, Run] = {}
    for some in _batches(wanted):
        if len(some) > 1:  # one is asked for directly
            of_ids = f"attributes.run_id IN ({_listed(some)})"
            search = partial(client.search_runs, searched, of_ids, ViewType.ALL, max_results=AT_ONCE)
            found |= {run.info.run_id: run for run in whole(search)}
    there = [run_id for run_id in wanted if run_id in found or not passing_over or is_there(client, run_id)]
    return {run_id: found.get(run_id) or run_of(client, run_id) for run_id in there}


def epoch_of(model: LoggedModel) -> int:
    """The epoch of a milestone; UserError where its parameter is none, which others may have written."""
    text = (model.params or {}).get("epoch", "")
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UserError(f"model {model.model_id} is no milestone: its parameter epoch is {printable(text)!r}.")
    return int(text)


def _has_epoch(model: LoggedModel) -> bool:
    try:
        epoch_of(model)
    except UserError as error:
        note(f"{error} It is left out")
        return False
    return True


def model_of(client: MlflowClient, model_id: str) -> LoggedModel:
    """The model with this id; UserError if the tracking server has none."""
    try:
        return client.get_logged_model(model_id)
    except MlflowException as error:
        raise UserError(f"{model_id} is not a model on this tracking server: {in_short(error)}") from error


def deviations_of(model: LoggedModel) -> tuple[float, ...] | None:
    """The deviations of a milestone's adjusted coding rate reduction over halves of the images.

    None where it has none, as those of earlier releases, or where its tag holds anything else, which others may have
    written.
    """
    try:
        found = json.loads(model.tags.get(DEVIATIONS, "null"))
        whole = isinstance(found, list) and all(type(one) in (int, float) and isfinite(one) for one in found)
    except (ValueError, RecursionError, OverflowError):
        whole = False
    if whole:
        return tuple(map(float, found))
    if DEVIATIONS in model.tags:
        note(f"milestone {model.model_id} has a tag {DEVIATIONS} that holds no list of numbers: it is left out")
    return None


def about_of(model: LoggedModel) -> dict[str, Any]:
    """What a milestone's `milestone.json` holds; MlflowException, OSError or ValueError where it cannot be read."""
    with TemporaryDirectory() as folder:
        path = download_artifacts(f"{model.artifact_location}/{ABOUT_FILE}", dst_path=folder)
        about: dict[str, Any] = json.loads(Path(path).read_text())
        return about


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
