"""Pretraining: train an encoder without labels and keep milestones."""

import dataclasses
from functools import partial
from typing import Any

import torch

from sslmlflow.config.methods import method_options_text, read_method_options
from sslmlflow.config.options import AUTO, as_text
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.data.augmentation import Views
from sslmlflow.data.opening import dataset_spec, open_and_tell
from sslmlflow.data.preprocess import measure_preprocessing
from sslmlflow.data.stacks import chosen_views, described
from sslmlflow.distributed import rank, size
from sslmlflow.encoders import PREFIX, EncoderSpec, build_encoder, check_encoder, check_views, read_timm_options
from sslmlflow.errors import ConfigError
from sslmlflow.evaluation.monitor import Monitor
from sslmlflow.methods import build_method, method_class, recipe_of
from sslmlflow.runs.first_weights import FirstWeights, first_weights
from sslmlflow.runs.near_copies import count_near_copies
from sslmlflow.runs.presets import Settings, settle
from sslmlflow.runs.retention import check_keep
from sslmlflow.runs.training import Training, full_batches, resolved
from sslmlflow.runs.views import view_batches
from sslmlflow.tracking.server import check_experiment, connect
from sslmlflow.training.batch_norm import synchronise
from sslmlflow.training.device import choose_machine, memory_format
from sslmlflow.training.loop import Plan
from sslmlflow.training.optimisers import Optimising
from sslmlflow.training.schedules import Schedule
from sslmlflow.training.state import State
from sslmlflow.training.step import ssl_step, start_state

LARGEST_CIFAR_STEM = 64  # pixels


def prepare(config: Pretrain) -> Training:
    """Check what can be checked without data, then open the images and settle every `auto`."""
    settings = settle(config)
    _check(config, settings)
    check_keep(config)
    machine = choose_machine(config.device, config.precision)
    if rank() == 0:
        check_experiment(connect())
    sets = open_and_tell(dataset_spec(config, config.image_size))
    preprocessing = measure_preprocessing(sets.train, sets.bit_depth)
    image_size = preprocessing.image_size
    recipe = recipe_of(config.method, config.encoder)
    views = chosen_views(recipe.views(image_size), recipe.multi_crop, config)
    plan = _plan(config, settings, len(sets.train))
    encoder = _encoder(config, settings.width, image_size, views)
    method_options = method_options_text(config.method, settings.method_options)
    of_method = read_method_options(config.method, settings.method_options)
    method_class(config.method).check(of_method, encoder, views, settings.batch_size)
    first = first_weights(config, method_options, encoder) if rank() == 0 else None
    settled = {
        **dataclasses.asdict(settings),
        "method_options": method_options,
        "views": described(views),
        **({"start_digest": first.digest, "start_holds": first.holds} if first else {}),
        "stem": encoder.stem,
        "image_size": image_size,
        "bit_depth": sets.bit_depth,
        "data_dir": as_text(dataset_spec(config).folder),
    }
    optimising = Optimising.of(recipe, settings.optimiser, settings.clip)
    return Training(
        name=f"{config.method} {encoder.name} on {sets.name}",
        options=config,
        machine=machine,
        sets=sets,
        encoder=encoder,
        preprocessing=preprocessing,
        plan=plan,
        batches=view_batches(sets, views, preprocessing, plan, machine),
        monitor=Monitor(
            sets.monitored,
            preprocessing,
            early_layer=encoder.early,
            images=config.monitor_images,
            eps=config.eps,
            seed=config.data_seed,
            train=sets.train,
        ),
        about={
            "method": config.method,
            "method_options": method_options,
            "dataset": _dataset(config, sets.train.fingerprint),
        },
        settled=resolved(settled),
        start=lambda: _start(config, encoder, method_options, first, optimising, machine.device),
        take_step=ssl_step,
        begins_with=first.model_id if first else None,
        measure_data=partial(count_near_copies, sets),
    )


def _start(
    config: Pretrain,
    spec: EncoderSpec,
    method_options: str,
    first: FirstWeights | None,
    optimising: Optimising,
    device: torch.device,
) -> State:
    """The state before the first step."""
    encoder = build_encoder(spec, config.seed)
    if first:
        first.put_into_encoder(encoder)  # before the method copies it for a teacher
    method = build_method(config.method, method_options, encoder, config.seed)
    if first:
        first.put_into_method(method)
    method.to(device, memory_format=memory_format(encoder, device))  # type: ignore[call-overload]
    if size() > 1:
        synchronise(method)
    return start_state(method, optimising)


def _encoder(config: Pretrain, width: int, image_size: int, views: Views) -> EncoderSpec:
    """The encoder, refused before there is a run where it cannot be trained on these views in these processes."""
    stem = config.stem if config.stem != "auto" else "cifar" if image_size <= LARGEST_CIFAR_STEM else "imagenet"
    encoder = EncoderSpec(config.encoder, stem, width, image_size, options=_timm_options(config))
    check_views(encoder, {group.size for group in views})
    if size() > 1 and encoder.options:
        synchronise(build_encoder(encoder, seed=0))  # refuses layers that it cannot replace
    return encoder


def _timm_options(config: Pretrain) -> str:
    """What an encoder of timm is built with; empty for others."""
    of_timm = config.encoder.startswith(PREFIX)
    if config.encoder_options and not of_timm:
        raise ConfigError(
            f"invalid value for encoder_options: {config.encoder_options} (must be auto for {config.encoder}, which is "
            "not an encoder of timm)"
        )
    return (config.encoder_options or AUTO) if of_timm else ""


def _check(config: Pretrain, settings: Settings) -> None:
    check_encoder(config.encoder)
    read_timm_options(_timm_options(config))
    read_method_options(config.method, settings.method_options)
    recipe = recipe_of(config.method, config.encoder)
    if settings.optimiser != recipe.optimiser and config.lr is None:
        raise ConfigError(
            f"invalid value for optimiser: {config.optimiser} (must be {recipe.optimiser}, for which the recipe's "
            "learning rate is). To use another optimiser, set --lr as well."
        )
    if settings.schedule == "warmup-cosine" and settings.warmup_epochs >= settings.epochs:
        raise ConfigError(
            f"warmup_epochs={config.warmup_epochs} is not possible. Allowed: fewer than the {settings.epochs} epochs."
        )
    if config.dataset == "digit-scenes" and config.data_dir:
        raise ConfigError(
            f"data_dir={config.data_dir} is not possible with dataset=digit-scenes, which is made here. "
            "Did you mean dataset=folder?"
        )


def _plan(config: Pretrain, settings: Settings, images: int) -> Plan:
    per_epoch = full_batches(images, settings.batch_size)
    return Plan(
        epochs=settings.epochs,
        steps_per_epoch=per_epoch,
        batch_size=settings.batch_size,
        milestone_every=settings.milestone_every,
        seed=config.seed,
        schedule=Schedule(
            name=settings.schedule,
            lr=settings.lr,
            total_steps=settings.epochs * per_epoch,
            warmup_steps=settings.warmup_epochs * per_epoch,
            weight_decay=settings.weight_decay,
            weight_decay_end=settings.weight_decay_end,
        ),
        workers=config.workers,
    )


def _dataset(config: Pretrain, fingerprint: str) -> dict[str, Any]:
    spec = dataclasses.asdict(dataset_spec(config, config.image_size))
    del spec["folder"], spec["download"], spec["labels"]
    return {**spec, "train_fingerprint": fingerprint}
