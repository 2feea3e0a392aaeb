"""Which run a job resumes, and what is refused: a run goes on only with what it was started with."""

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from sslmlflow.config.options import NONE, options_of, todays
from sslmlflow.errors import UserError
from sslmlflow.files import write_atomically
from sslmlflow.home import home
from sslmlflow.rules import changed_rules
from sslmlflow.texts import printable
from sslmlflow.tracking.lock import run_folder
from sslmlflow.tracking.notes import note
from sslmlflow.tracking.once import KEY, key_file
from sslmlflow.tracking.server import is_there, run_of

ENTRY_POINT = "sslmlflow.entry_point"  # tag
RUN_FILE = "run.json"  # in a run's folder: what decides its result, as text by name
RULES = "rules/"  # before the names of rules, which have versions: sslmlflow/rules.py
RESOLVED = "resolved/"  # before the parameters whose `auto` was settled
ALIKE = 3  # as many differing parameters at most make a run one that may have been meant
SHOWN_BY_IMAGES = {f"{RULES}split", f"{RULES}decoding"}  # where these change anything, the images differ


@dataclass(frozen=True)
class Job:
    """An entry point with its parameters, and all that decides its result, as text by name."""

    entry_point: str
    config: Any
    deciding: Mapping[str, str]

    @property
    def digest(self) -> str:
        """The same for jobs that give the same."""
        return hashlib.sha256(json.dumps(self.deciding, sort_keys=True).encode()).hexdigest()[:16]

    def remember(self, run_id: str) -> None:
        """Keep on disk what a run is started with."""
        path = run_folder(run_id) / RUN_FILE
        if not path.exists():
            write_atomically(path, json.dumps(self.deciding, indent=2).encode())


def resumed(client: MlflowClient, resume: str, job: Job, experiment_id: str) -> str | None:
    """The run that `resume` (none, auto, or a run id) means; None for a new one."""
    if resume == NONE:
        return None
    if resume != "auto":
        return str(run_of(client, resume).info.run_id)
    unfinished = _begun_here(client, job, experiment_id)
    key = key_file(job.digest)
    if not unfinished and key.exists():
        # Made right before a kill, or twice by a server that was slow to do what it was asked again.
        unfinished = client.search_runs(
            [experiment_id],
            f"tags.`{KEY}` = '{key.read_text()}' AND tags.`{ENTRY_POINT}` = '{job.entry_point}' "
            "AND status != 'FINISHED'",
            order_by=["start_time DESC"],
        )
    return next((str(run.info.run_id) for run in unfinished), None)


def _begun_here(client: MlflowClient, job: Job, experiment_id: str) -> list[Run]:
    """The unfinished runs that were started with the same here, latest first; last those by an earlier rule."""
    found: list[tuple[bool, int, Run]] = []
    others: list[tuple[int, str, dict[str, str | None]]] = []
    for path in (home() / "runs").glob(f"*/{RUN_FILE}"):
        try:
            changed = _changed(_started_with(path, job), job)
        except UserError as error:
            note(str(error))
            continue
        if not all(name.startswith(RULES) for name in changed):
            given = {name: text for name, text in changed.items() if not name.startswith(RESOLVED)}
            others.append((len(given), path.parent.name, given))
        elif run := _unfinished(client, path.parent.name, job, experiment_id):
            found.append((not set(changed) - SHOWN_BY_IMAGES, run.info.start_time or 0, run))
    if not found and others:
        number, run_id, changed = min(others, key=lambda one: one[:2])
        if 0 < number <= ALIKE and _unfinished(client, run_id, job, experiment_id):
            changes = "; ".join(
                f"{name} was {printable(text)}, now {printable(job.deciding[name])}" for name, text in changed.items()
            )
            note(f"run {run_id} is unfinished, but is not resumed, since it was started otherwise: {changes}")
    return [run for *_, run in sorted(found, key=lambda one: one[:2], reverse=True)]


def _unfinished(client: MlflowClient, run_id: str, job: Job, experiment_id: str) -> Run | None:
    """The run, if it is there, of this entry point and experiment, and not finished."""
    if not is_there(client, run_id):
        return None
    run = client.get_run(run_id)
    same = run.data.tags.get(ENTRY_POINT) == job.entry_point and run.info.experiment_id == experiment_id
    return run if same and run.info.status != "FINISHED" else None


def check_same(client: MlflowClient, run_id: str, job: Job, explicit: bool) -> None:
    """UserError where a run was started otherwise; `explicit` if the user named it."""
    known = client.get_run(run_id).data
    if explicit and known.tags.get(ENTRY_POINT) != job.entry_point:
        raise UserError(f"run {run_id} was not started by {job.entry_point}; it cannot be gone on with by it.")
    path = run_folder(run_id) / RUN_FILE
    if path.exists():
        before = _started_with(path, job)
    elif explicit:  # started under another SSLMLFLOW_HOME: MLflow knows the parameters
        given = {name: _unquoted(text) for name, text in known.params.items()}
        before = {**job.deciding, **todays(type(job.config), given)}
    else:
        return
    changed = _changed(before, job)
    if not set(changed) - SHOWN_BY_IMAGES:
        return
    rules = changed_rules(before, job.deciding)
    told = [
        f"{name} was {printable(text)}, now {printable(job.deciding[name])}"
        for name, text in changed.items()
        if not name.startswith(RULES)
    ]
    why = "with other parameters or images" if told else "by this build of sslmlflow, some of whose rules have changed"
    way_out = "or resume it with the build that started it" if rules else "or give the same"
    further = (
        " To train its encoder for more epochs, start a new run with --start=MILESTONE." if "epochs" in changed else ""
    )
    raise UserError(
        f"run {run_id} cannot be resumed {why}: {'; '.join([*rules, *told])}. Start a new run with --resume=none, "
        f"{way_out}.{further}"
    )


def _started_with(path: Path, job: Job) -> dict[str, str]:
    """What a run was started with.

    An option that its build did not have is at its default, a rule at version 1; a build that did not keep what
    `auto` became did as this one does.
    """
    options = options_of(type(job.config))
    absent = {name: options[name].text(options[name].default) for name in job.deciding if name in options}
    absent |= {name: "1" for name in job.deciding if name.startswith(RULES)}
    absent |= {name: text for name, text in job.deciding.items() if name.startswith(RESOLVED)}
    try:
        known = json.loads(path.read_bytes())
        if isinstance(known, dict) and all(isinstance(text, str) for text in known.values()):
            return {**absent, **todays(type(job.config), known)}
    except (OSError, ValueError):
        pass
    raise UserError(
        f"{path} is damaged: it does not hold the parameters of the run. Move it away and give "
        f"--resume={path.parent.name}: the parameters are compared with those that MLflow has."
    )


def _changed(before: Mapping[str, str], job: Job) -> dict[str, str | None]:
    """What decides and is not as it was; how it was, by name."""
    return {name: before.get(name) for name, text in job.deciding.items() if before.get(name) != text}


def _unquoted(text: str) -> str:
    """A parameter as it was given: `mlflow run` logs it in the quotes of a shell."""
    try:
        return "".join(shlex.split(text))
    except ValueError:  # such a text came there by other means
        return text
