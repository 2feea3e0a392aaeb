"""A training from its first step to its end: checkpoints, milestones measured at once, everything in one MLflow run."""

import json
import platform
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch
from mlflow.entities import LoggedModelInput

from sslmlflow.data.views import make_crops
from sslmlflow.distributed import any_true, size
from sslmlflow.errors import UserError
from sslmlflow.figures.views import views_figure
from sslmlflow.methods import Method
from sslmlflow.metrics.alarms import memorising, partly_collapsed
from sslmlflow.metrics.catalogue import CRR_ADJUSTED
from sslmlflow.milestone.milestone import write_milestone
from sslmlflow.restarts import remember
from sslmlflow.runs.progress import Progress, say
from sslmlflow.runs.retention import after_sending
from sslmlflow.runs.several import share_state, stop_agreed
from sslmlflow.runs.stopping import stop_metric, stopped
from sslmlflow.runs.training import Training, resolved
from sslmlflow.signals import end_if_wished, interruptible, uninterrupted
from sslmlflow.tracking.bad_images import log_bad_images
from sslmlflow.tracking.liveness import is_of_this_place
from sslmlflow.tracking.patience import SEND_SECONDS, STOPPED_SEND_SECONDS
from sslmlflow.tracking.run import TrackedRun
from sslmlflow.tracking.sender import Sender
from sslmlflow.tracking.spool import Spool, last_step
from sslmlflow.tracking.stored import DEVIATIONS
from sslmlflow.training.checkpoint import load_checkpoint, save_checkpoint
from sslmlflow.training.device import Machine
from sslmlflow.training.loop import Epoch, MilestoneDue, Step, Steps, train
from sslmlflow.training.state import State


def train_to_end(tracked: TrackedRun, training: Training) -> None:
    """Train to the end of the plan, or to where it stops, from the run's last checkpoint if it has one."""
    remember(tracked.run_id)
    done = tracked.folder / "trained"
    if any_true(done.exists()):
        print(f"run {tracked.run_id} is already trained to its end")
        return
    state = _start_or_resume(tracked, training)
    share_state(state)
    count = training.plan.epochs
    print(f"{count:,} epoch{'s' * (count != 1)} on {training.machine.device.type}, in {training.machine.precision}")
    if state.step == 0:
        machine = {"device": training.machine.device, "precision": training.machine.precision}
        computing = {**machine, "processes": size(), "threads": torch.get_num_threads()}
        tracked.log_missing_params({**training.settled, **resolved(computing)})
        tracked.log_training_images(training.sets.name, training.sets.train.fingerprint)
        log_bad_images(tracked, training.sets)
        if training.begins_with:
            tracked.set_tags({"sslmlflow.milestone": training.begins_with})
            tracked.client.log_inputs(tracked.run_id, models=[LoggedModelInput(training.begins_with)])
    spool = Spool(tracked.folder / "spool.db")
    sender = Sender(
        spool.path,
        tracked.client,
        tracked.run_id,
        after_sending(tracked.client, tracked.run_id, training.options.keep),
        tracked.claim,
    )
    patience = STOPPED_SEND_SECONDS  # what a training fails of, a full disk for one, may keep the rest from being sent
    try:
        _train_and_keep(tracked, training, state, spool)
        why, last = stopped(training.options, spool), max(spool.milestone_epochs(), default=0)
        patience = SEND_SECONDS
    finally:
        with uninterrupted():
            sent = sender.close(patience)
            spool.close()
    tracked.require_claim()
    if not sent:
        raise UserError(
            f"the training is done, but MLflow does not have all of it; --resume={tracked.run_id} sends the rest and "
            "ends the run, `sslmlflow sync` sends the rest."
        )
    if why is not None:
        tracked.set_tags({"sslmlflow.stopped_epoch": str(last), "sslmlflow.peak_epoch": str(why.peak)})
    done.touch(mode=0o600)
    shutil.rmtree(tracked.folder / "checkpoints", ignore_errors=True)


def _train_and_keep(tracked: TrackedRun, training: Training, state: State, spool: Spool) -> None:
    plan, options = training.plan, training.options
    saved = time.monotonic()
    losses: list[float] = []
    notes: set[str] = set()
    progress = Progress(plan.total_steps, state.step, plan.batch_size, _shorter(training))
    events = train(state, training.batches, plan, training.machine, training.take_step)
    # A step is finished, and what it came to saved.
    with uninterrupted(), closing(training.batches), closing(events), closing(progress):
        for event in events:
            match event:
                case Steps():
                    tracked.require_claim()
                    for step in event.steps:
                        _keep_step(spool, step)
                        losses.append(step.losses["loss"])
                        progress.step(step)
                        if step.note and step.note not in notes:
                            notes.add(step.note)
                            say(f"step {step.step}: {step.note} (said once)")
                    if stop_agreed():
                        break
                    if time.monotonic() - saved > 60 * options.checkpoint_minutes:
                        saved = _save(tracked, training, state, spool)
                case Epoch():
                    saved = _save(tracked, training, state, spool)
                    # After a resume within an epoch the mean is not that of an undisturbed training.
                    seen = "" if len(losses) == plan.steps_per_epoch else f" (of its last {len(losses)} steps)"
                    say(f"epoch {event.epoch}/{plan.epochs}  loss {np.mean(losses):.4f}{seen}")
                    losses.clear()
                case MilestoneDue():
                    with interruptible():  # it is measured again
                        if any_true(not spool.has_milestone(event.epoch)):
                            _keep_milestone(tracked, training, state.method, spool, event.epoch)
                        training.watch(event.epoch, spool.metrics_of_milestone(event.epoch))
                    why = stopped(options, spool)
                    if why is not None:
                        say(f"stopped after epoch {event.epoch}: {why.words}")
                    if any_true(why is not None):
                        break
        if stop_agreed():
            _save(tracked, training, state, spool)
            end_if_wished()


def _shorter(training: Training) -> str:
    ways = ["fewer --epochs"]
    if hasattr(training.options, "preset"):
        ways.append("--preset=small")
    if training.machine.device.type == "cpu":
        ways.append("a GPU")
    return " or ".join(ways)


def _keep_step(spool: Spool, step: Step) -> None:
    values = {f"train/{name}": value for name, value in step.losses.items()}
    spool.add_metrics({**values, "train/lr": step.lr, "train/images_per_s": step.images_per_second}, step.step)


def _keep_milestone(tracked: TrackedRun, training: Training, method: Method, spool: Spool, epoch: int) -> None:
    monitor = training.monitor
    results, deviations = monitor.measure(method.measured, method)
    first = not spool.milestone_epochs()
    alarms = [*partly_collapsed(results.values), *memorising(results.values, first)]
    about: dict[str, Any] = {
        "epoch": epoch,
        **training.about,
        "preprocessing": training.preprocessing.as_json(),
        "monitor": monitor.settings,
        "tags": {
            "sslmlflow.monitor": monitor.digest,
            "sslmlflow.alarms": "; ".join(alarms) or "none",
            **_deviations(deviations),
            **{f"undefined.{name.replace('/', '.')}": why for name, why in results.undefined.items()},
        },
    }
    folder = tracked.folder / "milestones" / f"epoch-{epoch:06d}"
    write_milestone(folder, method, training.encoder, about)
    once = {} if spool.milestone_epochs() else training.measure_data()
    spool.add_milestone(epoch, folder, {"epoch": float(epoch), **results.logged(), **once})
    spool.sync()
    adjusted = results.values.get(CRR_ADJUSTED)
    told = f"adjusted coding rate reduction {adjusted:.3f}" if adjusted is not None else "its metrics are undefined"
    say("; ".join([f"milestone at epoch {epoch}: {told}", *stop_metric(training.options, results.values), *alarms]))


def _deviations(deviations: Sequence[float]) -> dict[str, str]:
    """The tag by which milestones are compared on the same halves of the images."""
    rounded = [float(f"{one:.6g}") for one in deviations]
    return {DEVIATIONS: json.dumps(rounded)} if rounded else {}


def _start_or_resume(tracked: TrackedRun, training: Training) -> State:
    state = training.start()
    checkpoint = load_checkpoint(tracked.folder / "checkpoints")
    if checkpoint:
        state.restore(checkpoint.step, checkpoint.tensors)
        print(f"going on with run {tracked.run_id} after step {state.step:,} of {training.plan.total_steps:,}")
        now = _environment(training.machine)
        changed = [
            f"{name} {before} -> {now[name]}"
            for name, before in {"processes": 1, **checkpoint.info["environment"]}.items()
            if now[name] != before
        ]
        if changed:
            print(f"note: {', '.join(changed)}; the result may differ in the last bits from an uninterrupted run")
    return state


def require_checkpoints(tracked: TrackedRun) -> None:
    """UserError unless this SSLMLFLOW_HOME has all that the run was trained, so that it can be resumed here."""
    known = tracked.client.get_run(tracked.run_id).data
    if "train/loss" not in known.metrics:
        return
    spooled = tracked.folder / "spool.db"
    if not spooled.exists():
        raise UserError(
            f"run {tracked.run_id} was trained before, but its checkpoints are not in {tracked.folder}. "
            "Set SSLMLFLOW_HOME to the folder that was used then, or start a new run."
        )
    if not is_of_this_place(known.tags):
        last = max(point.step for point in tracked.client.get_metric_history(tracked.run_id, "train/loss"))
        if last > (here := last_step(spooled, "train/loss")):
            raise UserError(
                f"run {tracked.run_id} was trained to step {last:,} elsewhere, to step {here:,} in {tracked.folder}. "
                "Set SSLMLFLOW_HOME to the folder that was used last, or start a new run."
            )


def _save(tracked: TrackedRun, training: Training, state: State, spool: Spool) -> float:
    spool.sync()
    about = {"environment": _environment(training.machine)}
    save_checkpoint(tracked.folder / "checkpoints", state.step, state.tensors(), about)
    return time.monotonic()


def _environment(machine: Machine) -> dict[str, Any]:
    """What the last bits of a result depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "device": machine.device.type,
        "precision": machine.precision,
        "processes": size(),
        "threads": torch.get_num_threads(),
    }


def log_views(tracked: TrackedRun, training: Training) -> None:
    """Keep a figure of what the method sees among the run's artifacts, when the training begins."""
    if any((tracked.folder / name).exists() for name in ("checkpoints", "trained")):
        return
    shown = training.sets.train.read(np.arange(min(8, len(training.sets.train))))
    generator = torch.Generator().manual_seed(training.plan.seed)
    mean, std = training.preprocessing.tensors(torch.device("cpu"))
    crops, _ = make_crops(torch.from_numpy(shown), training.batches.views, mean, std, generator)
    pixels = [(view * std[:, None, None] + mean[:, None, None]).numpy() for views in crops for view in views]
    tracked.log_figure(views_figure(shown, pixels), "figures/views.png")
