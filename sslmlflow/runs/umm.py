"""Fine-tuning by UMM: what is asked for, checked against the milestone that it starts from."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModelInput

from sslmlflow.config.data import DataOptions
from sslmlflow.config.options import AUTO, as_text, options_of, read_config, texts_of
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.config.umm import Umm, UmmOptions
from sslmlflow.config.views import ViewOptions
from sslmlflow.data.augmentation import Views
from sslmlflow.data.opening import changed_since, dataset_spec, open_and_tell
from sslmlflow.data.source import ImageSets
from sslmlflow.data.stacks import chosen_views, described
from sslmlflow.distributed import size
from sslmlflow.encoders import RESNETS, EncoderSpec, check_views
from sslmlflow.errors import ConfigError, UserError
from sslmlflow.evaluation.monitor import Monitor
from sslmlflow.methods import Method, Recipe, method_class, recipe_of
from sslmlflow.runs.origin import Origin
from sslmlflow.runs.retention import check_keep
from sslmlflow.runs.train import require_checkpoints
from sslmlflow.runs.training import Training, full_batches, resolved
from sslmlflow.runs.views import view_batches
from sslmlflow.texts import printable
from sslmlflow.tracking.run import TrackedRun, tracked_run
from sslmlflow.tracking.trained_images import images_of, images_of_run
from sslmlflow.training.batch_norm import synchronise
from sslmlflow.training.device import choose_machine, memory_format
from sslmlflow.training.loop import Plan
from sslmlflow.training.optimisers import Optimising
from sslmlflow.training.schedules import Schedule
from sslmlflow.training.state import State
from sslmlflow.umm.balance import balance
from sslmlflow.umm.fixed_early import tuned_parameters
from sslmlflow.umm.objective import Weights
from sslmlflow.umm.step import Umm as UmmStep

BALANCE_STEPS = 8  # before a search, of which the median is taken
RECIPE = ("batch_size", "milestone_every", "lr", "weight_decay", "schedule", "warmup_epochs")
LATER = {  # and what it was before there was a choice
    "optimiser": "sgd",
    "weight_decay_end": AUTO,
    "clip": "0.0",
    **{name: option.text(option.default) for name, option in options_of(ViewOptions).items()},
}


@contextmanager
def umm_run(config: Umm, training: Training, origin: Origin, below: TrackedRun | None = None) -> Iterator[TrackedRun]:
    """The run of a tuning, linked to the milestone it starts from, and shown below its training or another run."""
    parent = below.run_id if below else origin.run_id
    # With the parent in it, `resume=auto` of a grid's part does not take over what was tuned for another reason.
    data = {**training.data, "milestone": origin.model_id, "parent": parent}
    with tracked_run("umm", config, training.name, config.resume, data, below, check=require_checkpoints) as tracked:
        tracked.set_tags({"mlflow.parentRunId": parent, "sslmlflow.milestone": origin.model_id})
        tracked.client.log_inputs(tracked.run_id, models=[LoggedModelInput(origin.model_id)])
        yield tracked


def training_images(client: MlflowClient, config: UmmOptions, source: str) -> tuple[int, DataOptions]:
    """Size and choice of the images that the training `source` had, wherever they lie now."""
    return _here(config, *images_of_run(client, source))


def _here(config: UmmOptions, image_size: int, options: DataOptions) -> tuple[int, DataOptions]:
    return image_size, dataclasses.replace(
        options, data_dir=config.data_dir or options.data_dir, download=config.download
    )


def prepare(config: Umm, origin: Origin) -> Training:
    """Check what is asked for against the milestone, open its images and settle every `auto`."""
    check_keep(config)
    machine = choose_machine(config.device, config.precision)
    about, preprocessing = origin.about, origin.preprocessing
    method, spec = _method(config, origin)
    if size() > 1:
        synchronise(method)  # refuses layers that it cannot replace
    image_size, options = _here(config, *images_of(origin.run_id, origin.params))
    sets = open_and_tell(dataset_spec(options, image_size))
    _check_images(sets, about)
    recipe = _recipe(origin.params)
    plan = _plan(config, recipe, len(sets.train))
    of_method, views = trained_with(about["method"], spec, recipe, origin.params.get("resolved/views"))
    check_views(spec, {group.size for group in views})
    optimising = Optimising.of(of_method, recipe["optimiser"], float(recipe["clip"]))
    step = _step(config)
    watched = about["monitor"]
    data = {name: text for name, text in texts_of(options).items() if name not in texts_of(config)}
    settled = {
        "method": about["method"],
        "milestone": origin.model_id,
        "batch_size": plan.batch_size,
        "milestone_every": plan.milestone_every,
        "early_layer": spec.early if spec.name in RESNETS else "as it is split",
        "image_size": image_size,
        "bit_depth": sets.bit_depth,
        "data_dir": options.data_dir,
        # What earlier builds had no choice of is named where it was chosen: their studies are the same.
        **{f"training_{name}": text for name, text in recipe.items() if text != LATER.get(name)},
    }

    return Training(
        name=f"{config.variant} on {origin.run_name}, epoch {about['epoch']}",
        options=config,
        machine=machine,
        sets=sets,
        encoder=spec,
        preprocessing=preprocessing,
        plan=plan,
        batches=view_batches(sets, views, preprocessing, plan, machine),
        monitor=Monitor(
            sets.monitored,
            preprocessing,
            early_layer=spec.early,
            images=watched["images"],
            eps=watched["eps"],
            seed=watched["seed"],
            train=sets.train,
        ),
        about={**{name: about[name] for name in ("method", "method_options", "dataset")}, "tuned": True},
        settled={**data, **resolved(settled)},
        start=lambda: _start(config, origin, step, optimising, machine.device),
        take_step=step.step,
    )


def _start(config: Umm, origin: Origin, step: UmmStep, optimising: Optimising, device: torch.device) -> State:
    """The state before the first step."""
    method, _ = _method(config, origin)
    method.to(device, memory_format=memory_format(method.encoder, device))  # type: ignore[call-overload]
    if size() > 1:
        synchronise(method)
    method.begin_tuning()
    return step.start(method, optimising)


def balance_at_start(wanted: Sequence[str], config: UmmOptions, training: Training) -> dict[str, float]:
    """The alpha or beta with which the terms pull as strongly as the loss; UserError where a term does not pull."""
    method = training.start().method.train()
    batches = (training.batches(step) for step in range(min(BALANCE_STEPS, training.plan.total_steps)))
    try:
        with closing(training.batches):
            first = [batch for batch in batches if batch]
        return balance(wanted, method, first, _weights(config), training.machine, training.plan.seed)
    except ValueError as error:
        raise UserError(
            f"a range for {' and '.join(wanted)} cannot be found: {error}. Give "
            f"{' and '.join(f'--{name}_range' for name in wanted)}, as low..high:log."
        ) from error


def _method(config: Umm, origin: Origin) -> tuple[Method, EncoderSpec]:
    method, spec = origin.method(None if config.early_layer == "auto" else config.early_layer)
    if config.variant != "continuation":
        tuned_parameters(method)  # refuses an encoder whose late part has none
    width = method.encoder.embedding_width
    if config.density == "sketch_in" and config.directions < width:
        raise ConfigError(
            f"directions={config.directions} is not possible with density=sketch_in. Allowed: at least the width of "
            f"the embeddings, {width}."
        )
    return method, spec


def _check_images(sets: ImageSets, about: Mapping[str, Any]) -> None:
    if sets.train.fingerprint != about["dataset"]["train_fingerprint"]:
        raise UserError(
            "the training images are not those that the milestone was trained on: images that it has not seen may be "
            "trained on now, or held-out ones. "
            f"{changed_since(about)}Put the folder back as it was, or name it with --data_dir."
        )


def _recipe(params: Mapping[str, str]) -> dict[str, str]:
    """How the training, or that which a tuning started from, was done; UserError where its parameters are none."""
    found = {}
    for name in (*RECIPE, *LATER):
        places = f"resolved/training_{name}", f"resolved/{name}", name
        text = next((params[place] for place in places if place in params), LATER.get(name, AUTO))
        try:
            found[name] = as_text(options_of(Pretrain)[name].read(text))
        except ConfigError as error:
            raise UserError(f"the parameters of the training are not those of one: {printable(error)}") from error
        if found[name] == AUTO and name not in LATER:
            raise UserError(f"the parameters of the training are not those of one: {name} is missing.")
    if found["weight_decay_end"] == found["weight_decay"]:
        found["weight_decay_end"] = AUTO
    return found


def trained_with(method: str, spec: EncoderSpec, recipe: Mapping[str, str], seen: str | None) -> tuple[Recipe, Views]:
    """The method's recipe, and its views, in words `seen`; earlier builds trained transformers by that of ResNets."""
    options = read_config(ViewOptions, {name: recipe[name] for name in options_of(ViewOptions)})
    for known in (recipe_of(method, spec.name), method_class(method).recipe):
        views = chosen_views(known.views(spec.image_size), known.multi_crop, options)
        if seen in (None, described(views)):
            return known, views
    raise UserError(
        f"the views of the training cannot be made by this build of sslmlflow: they were {seen} and would be "
        f"{described(views)}. Tune its milestones with the build that trained them."
    )


def _plan(config: Umm, recipe: dict[str, str], images: int) -> Plan:
    batch_size = config.batch_size or int(recipe["batch_size"])
    per_epoch = full_batches(images, batch_size)
    steps, warmup = config.epochs * per_epoch, int(recipe["warmup_epochs"]) * per_epoch
    # The method's own, which only its own step in `alternating` takes; Adam keeps to config.lr.
    schedule = Schedule("constant", config.lr, steps)
    if config.variant == "alternating":
        if recipe["schedule"] == "warmup-cosine" and warmup >= steps:
            raise ConfigError(
                f"epochs={config.epochs} is not possible with variant=alternating here: the training's schedule warms "
                f"up for {recipe['warmup_epochs']} epochs. Allowed: more."
            )
        decay, end = float(recipe["weight_decay"]), recipe["weight_decay_end"]
        end_decay = decay if end == AUTO else float(end)
        schedule = Schedule(recipe["schedule"], float(recipe["lr"]), steps, warmup, decay, end_decay)
    return Plan(
        epochs=config.epochs,
        steps_per_epoch=per_epoch,
        batch_size=batch_size,
        milestone_every=config.milestone_every or int(recipe["milestone_every"]),
        seed=config.seed,
        schedule=schedule,
        workers=config.workers,
    )


def _step(config: Umm) -> UmmStep:
    return UmmStep(_weights(config), **_options(UmmStep, config))


def _weights(config: UmmOptions) -> Weights:
    return Weights(**_options(Weights, config))


def _options(kind: type[UmmStep | Weights], config: UmmOptions) -> dict[str, Any]:
    """The fields of `kind` that are options of the same name."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: getattr(config, name) for name in options_of(UmmOptions) if name in names}
