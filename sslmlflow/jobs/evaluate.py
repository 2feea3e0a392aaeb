"""Entry point `evaluate`: which milestones are measured, and on which images."""

import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException

from sslmlflow.config.data import DataOptions
from sslmlflow.config.evaluate import Evaluate
from sslmlflow.data import open_images
from sslmlflow.data.copies import copies_across
from sslmlflow.data.opening import cache_folder, dataset_spec
from sslmlflow.distributed import rank, size
from sslmlflow.errors import ConfigError, UserError
from sslmlflow.evaluation.embedder import Embedder
from sslmlflow.evaluation.evaluate import evaluate
from sslmlflow.reporting.trainings import TRAININGS
from sslmlflow.runs.several import by_all, found_by_first, opened
from sslmlflow.runs.start import latest_run
from sslmlflow.runs.training import resolved
from sslmlflow.tracking.liveness import HEARTBEAT, reap
from sslmlflow.tracking.run import tracked_run
from sslmlflow.tracking.server import check_experiment, connect, run_of
from sslmlflow.tracking.stored import epoch_of, milestones_of_run, model_of
from sslmlflow.tracking.trained_images import images_of_run
from sslmlflow.training.device import choose_machine

POLL_SECONDS = 5.0


@dataclass(frozen=True)
class _Task:
    """What is to be measured, and on which images; `trained_on` is the fingerprint of those trained on, if these."""

    source: str
    models: Iterator[LoggedModel]
    data: DataOptions
    image_size: int
    trained_on: str | None


def run(config: Evaluate) -> None:
    """Evaluate from the command line or `mlflow run`."""
    machine = by_all(lambda: choose_machine(config.device, "float32"))
    tasks: list[_Task] = []

    def find() -> str:
        if config.follow and size() > 1:
            raise ConfigError("invalid value for follow: true (must be false in several processes)")
        tasks.append(_task(config))
        return json.dumps([dataclasses.asdict(tasks[0].data), tasks[0].image_size])

    data, image_size = json.loads(found_by_first(find))
    here = {"data_dir": config.data_dir or data["data_dir"], "download": config.download}
    spec = dataset_spec(DataOptions(**{**data, **here}), image_size, config.labels)
    sets = opened(spec, machine)
    if rank():
        Embedder(sets, machine.device).follow()
        return
    task = tasks[0]
    with tracked_run("evaluate", config, f"evaluate {task.source[:8]}") as tracked:
        tracked.set_tags({"mlflow.parentRunId": task.source, "sslmlflow.evaluates": task.source})
        tracked.log_missing_params(resolved({"processes": size()}))
        evaluate(tracked, spec, sets, config, task.models, machine.device, task.trained_on)


def _task(config: Evaluate) -> _Task:
    client = connect()
    check_experiment(client)
    source = _source_run(client, config)
    image_size, own = _training_images(client, config, source)
    data = _data_options(config, own)
    trained_on = None
    if (data.dataset, data.data_dir) == (own.dataset, own.data_dir):
        trained = open_images(dataset_spec(own, image_size), cache_folder()).train
        trained_on = trained.fingerprint
        if data != own:  # with other limits, copies may lie on other sides of a drawn split
            evaluated = dataclasses.replace(open_images(dataset_spec(data, image_size), cache_folder()), train=trained)
            for note in copies_across(evaluated, cache_folder()):
                print(note)
    models = _models(client, config, source)
    first = next(models, None)  # a mistake in what is asked for makes no run
    if first is None:
        raise UserError(f"no milestone of run {source} was kept. Choose another run.")
    models = chain([first], models)
    return _Task(source, models, data, image_size, trained_on)


def _source_run(client: MlflowClient, config: Evaluate) -> str:
    """The run whose milestones are meant."""
    if config.run:
        return str(run_of(client, config.run).info.run_id)
    if config.milestones:
        return str(model_of(client, config.milestones[0]).source_run_id)
    return str(latest_run(client, (*TRAININGS, "umm"), running=config.follow).info.run_id)


def _models(client: MlflowClient, config: Evaluate, source: str) -> Iterator[LoggedModel]:
    """The milestones to measure; with `follow`, also those that the run is still to make."""
    if config.milestones:
        for model in map(partial(model_of, client), config.milestones):
            if model.source_run_id != source:
                raise UserError(
                    f"milestone {model.model_id} is of another run than {source}: evaluate each run by itself."
                )
            yield model
        return
    seen: set[str] = set()
    while True:
        # Asked for before the milestones: what appears in between is found in the next round.
        training = _is_training(client, source)
        new = [model for model in milestones_of_run(client, source) if model.model_id not in seen]
        seen.update(model.model_id for model in new)
        yield from (model for model in new if _is_kept(client, model))
        if not (config.follow and training):
            break
        if not new:
            time.sleep(POLL_SECONDS)
    if not seen:
        raise UserError(f"run {source} has no milestones (yet). Give --follow=true to wait for them.")


def _is_training(client: MlflowClient, run_id: str) -> bool:
    """Whether somebody works on the run; it is closed where that was a process of this machine that died."""
    run = client.get_run(run_id)
    if run.info.status != "RUNNING" or HEARTBEAT not in run.data.tags:
        return bool(run.info.status == "RUNNING")
    reaped = reap(client, [run])
    return not (reaped.marked or reaped.refused)


def _is_kept(client: MlflowClient, model: LoggedModel) -> bool:
    """Whether the milestone is still there: a training with keep=K deletes some meanwhile."""
    try:
        client.get_logged_model(model.model_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        print(f"epoch {epoch_of(model)} was not kept and is left out")
        return False
    return True


def _training_images(client: MlflowClient, config: Evaluate, source: str) -> tuple[int, DataOptions]:
    """Size and choice of the images that a run was trained on, wherever they lie now."""
    image_size, options = images_of_run(client, source)
    own = dataclasses.replace(
        options,
        data_dir=config.data_dir or options.data_dir,
        data_seed=options.data_seed if config.data_seed is None else config.data_seed,
        download=config.download,
        bit_depth=options.bit_depth if config.bit_depth == "auto" else config.bit_depth,
        max_megapixels=config.max_megapixels or options.max_megapixels,
        on_bad_image=options.on_bad_image if config.on_bad_image == "auto" else config.on_bad_image,
        max_bad_share=options.max_bad_share if config.max_bad_share is None else config.max_bad_share,
    )
    return image_size, own


def _data_options(config: Evaluate, own: DataOptions) -> DataOptions:
    """The data set to evaluate on; `auto` is the one it was trained on."""
    if config.dataset == "auto":
        return dataclasses.replace(
            own,
            max_train_images=config.max_train_images or own.max_train_images,
            max_test_images=config.max_test_images or own.max_test_images,
        )
    return dataclasses.replace(
        own,
        dataset=config.dataset,
        data_dir=config.data_dir,
        max_train_images=config.max_train_images,
        max_test_images=config.max_test_images,
    )
