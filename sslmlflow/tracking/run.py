"""The one MLflow run of a job: adopted from `mlflow run`, gone on with, or started."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import mlflow
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag
from mlflow.tracking.context.registry import resolve_tags
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from PIL import Image

from sslmlflow.config.options import NONE, deciding_texts, texts_of
from sslmlflow.errors import PrunedError, UserError, in_short
from sslmlflow.files import private_folder, write_atomically
from sslmlflow.signals import interruptible, uninterrupted
from sslmlflow.texts import printable, without_logins, without_secrets
from sslmlflow.tracking.claim import Claim, claim
from sslmlflow.tracking.liveness import reap, running, signs_of_life
from sslmlflow.tracking.lock import locked, run_folder
from sslmlflow.tracking.once import KEY, made_once, new_key
from sslmlflow.tracking.patience import STOPPED_OPEN_SECONDS, tried
from sslmlflow.tracking.same_job import ENTRY_POINT, Job, check_same, resumed
from sslmlflow.tracking.server import connect, current_experiment, run_of

TRAINING = "sslmlflow.training"  # tag
ENDED = "ended"  # file that holds how a run ended, while MLflow does not know
MANY_WRITERS = 16


@dataclass(frozen=True)
class TrackedRun:
    """A run on the tracking server, and its folder in SSLMLFLOW_HOME."""

    client: MlflowClient
    run_id: str
    experiment_id: str
    folder: Path
    claim: Claim | None = None  # of this process; none on a run that another one leads

    def require_claim(self) -> None:
        """UserError where another process has claimed the run since."""
        if self.claim:
            self.claim.require()

    def log_figure(self, figure: Figure, name: str) -> None:
        """Keep a matplotlib figure among the run's artifacts."""
        self.client.log_figure(self.run_id, figure, name)

    def log_step_figure(self, figure: Figure, name: str, epoch: int) -> None:
        """Keep a figure as one of a series by epoch, through which the MLflow UI has a slider.

        A job that was killed and goes on keeps none twice.
        """
        kept = f"images/{name}+step+{epoch}+"
        if any(file.path.startswith(kept) for file in self.client.list_artifacts(self.run_id, "images")):
            return
        png = BytesIO()
        figure.savefig(png, format="png")
        self.client.log_image(self.run_id, Image.open(png).convert("RGB"), key=name, step=epoch)

    def log_training_images(self, name: str, digest: str) -> None:
        """Name the data set in the table of runs; no image is uploaded."""
        dataset = Dataset(name, digest[:16], source_type="local", source=json.dumps({"name": name}))
        context = InputTag("mlflow.data.context", "training")
        self.client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, [context])])

    def log_missing_params(self, texts: Mapping[str, str]) -> None:
        """Log the parameters that MLflow does not have yet; it refuses a second, differently written value."""
        known = self.client.get_run(self.run_id).data.params
        missing = [Param(name, without_logins(text)) for name, text in texts.items() if name not in known]
        self.client.log_batch(self.run_id, params=missing)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        self.client.log_batch(self.run_id, tags=[RunTag(name, without_logins(text)) for name, text in tags.items()])

    def describe(self, markdown: str) -> None:
        """Set the description that the MLflow UI shows."""
        self.set_tags({"mlflow.note.content": without_secrets(markdown)[:8000]})


@contextmanager
def tracked_run(
    entry_point: str,
    config: Any,
    name: str,
    resume: str = NONE,
    data: Mapping[str, str] | None = None,
    below: TrackedRun | None = None,
    deciding: Mapping[str, str] | None = None,
    check: Callable[[TrackedRun], None] = lambda run: None,
) -> Iterator[TrackedRun]:
    """The run of a job, ended FINISHED, FAILED, or KILLED on Ctrl-C and where it was pruned.

    `data` says, beside the parameters, what the result depends on: a run goes on only with the same.
    Under `mlflow run` it is the run that MLflow made. `resume` is `none`, `auto` (the latest unfinished run of
    this entry point with the same parameters and data, if there is one) or a run id. `below` is the run of the job
    that this one is a part of: then neither is MLflow's run adopted, nor another experiment taken. `deciding` is what
    decides in place of the options, where not all of them do. `check` raises a UserError where the run cannot be
    resumed: like every other refusal, it comes before anything changes, in MLflow or on disk.
    """
    decides = {**(deciding_texts(config) if deciding is None else deciding), **(data or {})}
    job = Job(entry_point, config, decides)
    name = printable(name)
    with ExitStack() as stack:
        with uninterrupted():  # a run that was made is ended, whenever Ctrl-C comes
            run = stack.enter_context(_begun(job, name, resume, below, check))
        yield run


@contextmanager
def _begun(
    job: Job, name: str, resume: str, below: TrackedRun | None, check: Callable[[TrackedRun], None]
) -> Iterator[TrackedRun]:
    adopted = None if below else os.environ.get("MLFLOW_RUN_ID")
    started = below.run_id if below else adopted
    with interruptible():  # nothing is begun yet
        client = connect()
        if below is None:
            _look_around(client)
        experiment_id = run_of(client, started).info.experiment_id if started else current_experiment(client)
        chosen = resumed(client, resume, job, experiment_id) or adopted
    if chosen is None:
        if resume == "auto" and job.config.resume == "auto" and below is None:
            print("nothing unfinished to go on with: a new run")
        own = {ENTRY_POINT: job.entry_point, TRAINING: job.digest, KEY: new_key(job.digest)}
        tags = resolve_tags({**own, MLFLOW_PARENT_RUN_ID: below.run_id} if below else own)
        chosen = made_once(client, experiment_id, tags, name)
    run = TrackedRun(client, chosen, client.get_run(chosen).info.experiment_id, run_folder(chosen))
    with ExitStack() as held:
        with _untouched_if_refused(run.folder):
            held.enter_context(locked(chosen))
            check_same(client, chosen, job, explicit=resume not in (NONE, "auto"))
            mine = claim(client, chosen, run.folder, partial(check, run))
            job.remember(chosen)
        run = replace(run, claim=mine)
        with _ended(run), signs_of_life(client, chosen, mine.sign):
            drawn = re.fullmatch(r"[a-z]+-[a-z]+-\d+", client.get_run(chosen).info.run_name or "")
            client.update_run(chosen, "RUNNING", name if drawn else None)  # MLflow draws a name where none is given
            (run.folder / ENDED).unlink(missing_ok=True)  # of the process before
            run.set_tags({ENTRY_POINT: job.entry_point, TRAINING: job.digest})
            run.log_missing_params(texts_of(job.config))
            if adopted and adopted != chosen:
                _point_from(client, adopted, chosen)
            yield run


@contextmanager
def _untouched_if_refused(folder: Path) -> Iterator[None]:
    """A run's folder, made where there is none; if the block fails, it is as it was."""
    made = not folder.exists()
    private_folder(folder)
    try:
        yield
    except BaseException:
        if made:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _look_around(client: MlflowClient) -> None:
    """Close runs of this machine whose process died, and warn where many write to one SQLite file."""
    runs = running(client)
    reaped = reap(client, runs).marked
    for run_id, told in reaped.items():
        print(f"marked as killed: run {run_id}, {told}")
    count = len(runs) - len(reaped)
    if count >= MANY_WRITERS and mlflow.get_tracking_uri().startswith("sqlite"):
        print(f"{count} jobs write to one SQLite file and wait for each other: `mlflow server` suits so many better")


def close_adopted_run() -> None:
    """Mark the run that `mlflow run` made as KILLED, where it was stopped before its job began and said so itself."""
    adopted = os.environ.get("MLFLOW_RUN_ID")
    if not adopted or (run_folder(adopted) / ENDED).exists():  # its job has waited for a server that is away
        return

    def close() -> None:
        client = connect()
        if client.get_run(adopted).info.status in ("RUNNING", "FAILED"):
            client.set_terminated(adopted, "KILLED")

    if error := tried(close, STOPPED_OPEN_SECONDS):
        print(f"sslmlflow: could not tell MLflow that run {adopted} is KILLED: {in_short(error)}", file=sys.stderr)


def joined_run(client: MlflowClient, run_id: str) -> TrackedRun:
    """A run that another process leads and ends; the one that `mlflow run` made for this process points to it."""
    adopted = os.environ.get("MLFLOW_RUN_ID")
    if adopted and adopted != run_id:
        _point_from(client, adopted, run_id)
    return TrackedRun(client, run_id, run_of(client, run_id).info.experiment_id, run_folder(run_id))


@contextmanager
def _ended(run: TrackedRun) -> Iterator[None]:
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    except (KeyboardInterrupt, PrunedError):
        status = "KILLED"
        raise
    finally:
        if not (run.claim and run.claim.lost):  # else it is another process's to tell
            with uninterrupted():
                _tell_end(run, status)


def _tell_end(run: TrackedRun, status: str) -> None:
    """Tell MLflow how the run ended; as long as it does not know, a file says it."""
    ended = run.folder / ENDED
    with suppress(UserError):  # where the disk is full: then the next job finds nobody works on the run
        write_atomically(ended, status.encode())
    error = tried(lambda: run.client.set_terminated(run.run_id, status))
    if error is None:
        ended.unlink(missing_ok=True)
        return
    why = in_short(error).rstrip(".")
    untold = f"could not tell MLflow that run {run.run_id} is {status}: {why}. `sslmlflow sync` tells it."
    if status == "FINISHED":
        raise UserError(untold) from error
    print(f"sslmlflow: {untold}", file=sys.stderr)


def _point_from(client: MlflowClient, adopted: str, chosen: str) -> None:
    """Say in the run that MLflow made where the work went on."""
    client.set_tag(adopted, "resumed_as", chosen)
    client.set_tag(adopted, "mlflow.note.content", f"This run goes on in run `{chosen}`.")
