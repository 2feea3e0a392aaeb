"""Entry point `pretrain`: train an encoder without labels and keep milestones."""

import dataclasses
import platform
import shutil
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from sslmlflow.config.options import as_text, texts_of
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.data.preprocess import Preprocessing, measure_preprocessing
from sslmlflow.data.source import ImageSets
from sslmlflow.data.views import Augmentation, make_views
from sslmlflow.encoders import EncoderSpec, build_encoder, check_encoder
from sslmlflow.errors import ConfigError, UserError
from sslmlflow.figures.views import views_figure
from sslmlflow.jobs.datasets import dataset_spec, open_and_tell
from sslmlflow.jobs.monitor import Monitor
from sslmlflow.jobs.settings import Settings, settle
from sslmlflow.methods import Method, build_method, read_method_options
from sslmlflow.tracking.milestones import write_milestone
from sslmlflow.tracking.run import TrackedRun, tracked_run
from sslmlflow.tracking.sender import Sender
from sslmlflow.tracking.spool import Spool
from sslmlflow.training.batches import steps_per_epoch
from sslmlflow.training.checkpoint import load_checkpoint, save_checkpoint
from sslmlflow.training.device import Machine, choose_machine, memory_format
from sslmlflow.training.loop import Epoch, Milestone, Plan, State, Step, start_state, train
from sslmlflow.training.schedules import Schedule

LARGEST_CIFAR_STEM = 64  # pixels


def run(config: Pretrain) -> None:
    """Train from the command line or `mlflow run`."""
    training = prepare(config)
    with tracked_run("pretrain", config, training.name, config.resume, training.data) as tracked:
        pretrain(tracked, training)
    print(f"run {tracked.run_id}: `sslmlflow evaluate --run={tracked.run_id}` measures its milestones")


@dataclass(frozen=True)
class Training:
    """A pretraining whose every `auto` is settled and whose images are open."""

    config: Pretrain
    machine: Machine
    sets: ImageSets
    encoder: EncoderSpec
    preprocessing: Preprocessing
    plan: Plan
    settings: Settings

    @property
    def name(self) -> str:
        """What the run is called in the MLflow UI."""
        return f"{self.config.method} {self.encoder.name} on {self.sets.name}"

    @property
    def data(self) -> dict[str, str]:
        """The images, of which the result is a function beside the parameters."""
        return {"training images": self.sets.train.fingerprint[:16], "held-out images": self.sets.test.fingerprint[:16]}

    def resolved(self) -> dict[str, str]:
        """What every `auto` became."""
        options = read_method_options(self.config.method, self.settings.method_options)
        settled = {
            **dataclasses.asdict(self.settings),
            "method_options": ",".join(f"{name}={text}" for name, text in texts_of(options).items()),
            "stem": self.encoder.stem,
            "image_size": self.encoder.image_size,
            "data_dir": as_text(dataset_spec(self.config).folder),
            "device": self.machine.device,
            "precision": self.machine.precision,
            "threads": torch.get_num_threads(),
        }
        return {f"resolved/{name}": as_text(value) for name, value in settled.items()}


def prepare(config: Pretrain) -> Training:
    """Check what can be checked without data, then open the images and settle every `auto`."""
    check_encoder(config.encoder)
    settings = settle(config)
    read_method_options(config.method, settings.method_options)
    machine = choose_machine(config.device, config.precision)
    if settings.schedule == "warmup-cosine" and config.warmup_epochs >= settings.epochs:
        raise ConfigError(
            f"warmup_epochs={config.warmup_epochs} is not possible. Allowed: fewer than the {settings.epochs} epochs."
        )
    if config.dataset == "digit-scenes" and config.data_dir:
        raise ConfigError(
            f"data_dir={config.data_dir} is not possible with dataset=digit-scenes, which is made here. "
            "Did you mean dataset=folder?"
        )
    sets = open_and_tell(dataset_spec(config, config.image_size))
    per_epoch = steps_per_epoch(len(sets.train), settings.batch_size)
    if per_epoch == 0:
        raise UserError(
            f"{len(sets.train)} training images do not fill one batch of {settings.batch_size}. "
            f"Give --batch_size of at most {len(sets.train)}, or more images."
        )
    preprocessing = measure_preprocessing(sets.train)
    size = preprocessing.image_size
    stem = config.stem if config.stem != "auto" else "cifar" if size <= LARGEST_CIFAR_STEM else "imagenet"
    mean, std = preprocessing.tensors(machine.device)
    plan = Plan(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        milestone_every=settings.milestone_every,
        seed=config.seed,
        schedule=Schedule(
            name=settings.schedule,
            lr=settings.lr,
            total_steps=settings.epochs * per_epoch,
            warmup_steps=config.warmup_epochs * per_epoch,
        ),
        augmentation=Augmentation(size),
        mean=mean,
        std=std,
        workers=config.workers,
    )
    encoder = EncoderSpec(config.encoder, stem, settings.width, size)
    return Training(config, machine, sets, encoder, preprocessing, plan, settings)


def pretrain(tracked: TrackedRun, training: Training) -> None:
    """Train to the end of the plan, from the run's last checkpoint if it has one."""
    done = tracked.folder / "trained"
    if done.exists():
        print(f"run {tracked.run_id} is already trained to its end")
        return
    state = _start_or_resume(tracked, training)
    print(f"{training.settings.epochs:,} epochs on {training.machine.device.type}, in {training.machine.precision}")
    if state.step == 0:
        tracked.log_missing_params(training.resolved())
        tracked.log_training_images(training.sets.name, training.sets.train.fingerprint)
        tracked.log_figure(_views_figure(training), "figures/views.png")
    spool = Spool(tracked.folder / "spool.db")
    sender = Sender(spool, tracked.client, tracked.run_id)
    try:
        _train_and_keep(tracked, training, state, spool)
    finally:
        sent = sender.close()
        spool.close()
    if not sent:
        raise UserError(
            f"the training is done, but MLflow does not have all of it; --resume={tracked.run_id} sends the rest."
        )
    done.touch()
    shutil.rmtree(tracked.folder / "checkpoints", ignore_errors=True)


def _train_and_keep(tracked: TrackedRun, training: Training, state: State, spool: Spool) -> None:
    plan, config = training.plan, training.config
    monitor = Monitor(training.sets.test, training.preprocessing, plan.augmentation, config)
    saved = time.monotonic()
    losses: list[float] = []
    progress = tqdm(total=plan.schedule.total_steps, initial=state.step, unit="step", disable=None, smoothing=0.1)
    for event in train(state, training.sets.train, plan, training.machine):
        match event:
            case Step():
                parts = {f"train/{name}": value for name, value in event.losses.items()}
                spool.add_metrics(
                    {**parts, "train/lr": event.lr, "train/images_per_s": event.images_per_second}, event.step
                )
                losses.append(event.losses["loss"])
                progress.set_postfix_str(
                    f"loss {losses[-1]:.3f}, {event.images_per_second:,.0f} images/s", refresh=False
                )
                progress.update()
                if time.monotonic() - saved > 60 * config.checkpoint_minutes:
                    saved = _save(tracked, training, state, spool)
            case Epoch():
                saved = _save(tracked, training, state, spool)
                tqdm.write(f"epoch {event.epoch}/{plan.epochs}  loss {np.mean(losses):.4f}")
                losses.clear()
            case Milestone() if not spool.has_milestone(event.epoch):
                _keep_milestone(tracked, training, state.method, monitor, spool, event.epoch)
    progress.close()


def _keep_milestone(
    tracked: TrackedRun, training: Training, method: Method, monitor: Monitor, spool: Spool, epoch: int
) -> None:
    scores, seconds = monitor.measure(method.encoder)
    config = training.config
    about: dict[str, Any] = {
        "epoch": epoch,
        "method": config.method,
        "method_options": training.settings.method_options,
        "preprocessing": training.preprocessing.as_json(),
        "dataset": _dataset(training),
        "monitor": monitor.settings,
        "tags": {
            "sslmlflow.monitor": monitor.digest,
            **{f"undefined.{name.replace('/', '.')}": why for name, why in scores.undefined.items()},
        },
    }
    folder = tracked.folder / "milestones" / f"epoch-{epoch:06d}"
    write_milestone(folder, method, training.encoder, about)
    spool.add_milestone(epoch, folder, {"epoch": float(epoch), **scores.values, **seconds})
    spool.sync()
    adjusted = scores.values.get("label_free/crr_adjusted")
    told = f"adjusted coding rate reduction {adjusted:.3f}" if adjusted is not None else "its metrics are undefined"
    tqdm.write(f"milestone at epoch {epoch}: {told}")


def _dataset(training: Training) -> dict[str, Any]:
    spec = dataclasses.asdict(dataset_spec(training.config, training.config.image_size))
    del spec["folder"], spec["download"], spec["labels"]
    return {**spec, "train_fingerprint": training.sets.train.fingerprint}


def _start_or_resume(tracked: TrackedRun, training: Training) -> State:
    config = training.config
    encoder = build_encoder(training.encoder, config.seed)
    method = build_method(config.method, training.settings.method_options, encoder, config.seed)
    device = training.machine.device
    method.to(device, memory_format=memory_format(encoder, device))  # type: ignore[call-overload]
    state = start_state(method, training.settings.weight_decay)
    checkpoint = load_checkpoint(tracked.folder / "checkpoints")
    if checkpoint:
        state.restore(checkpoint.step, checkpoint.tensors)
        print(f"going on with run {tracked.run_id} after step {state.step:,} of {training.plan.schedule.total_steps:,}")
        now = _environment(training.machine)
        changed = [
            f"{name} {before} -> {now[name]}"
            for name, before in checkpoint.info["environment"].items()
            if now[name] != before
        ]
        if changed:
            print(f"note: {', '.join(changed)}; the result may differ in the last bits from an uninterrupted run")
    elif "train/loss" in tracked.client.get_run(tracked.run_id).data.metrics and not _spooled(tracked):
        raise UserError(
            f"run {tracked.run_id} was trained before, but its checkpoints are not in {tracked.folder}. "
            "Set SSLMLFLOW_HOME to the folder that was used then, or start a new run."
        )
    return state


def _spooled(tracked: TrackedRun) -> bool:
    return (tracked.folder / "spool.db").exists()


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
        "threads": torch.get_num_threads(),
    }


def _views_figure(training: Training) -> Any:
    plan = training.plan
    shown = training.sets.train.read(np.arange(min(8, len(training.sets.train))))
    generator = torch.Generator().manual_seed(plan.seed)
    mean, std = plan.mean.cpu(), plan.std.cpu()
    views: Tensor = make_views(torch.from_numpy(shown), plan.augmentation, mean, std, generator)
    pixels = views * std[:, None, None] + mean[:, None, None]
    return views_figure(shown, list(pixels.numpy()))
