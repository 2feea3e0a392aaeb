"""Entry point `sweep`: models with published weights, each measured in a run of its own as a milestone would be."""

import dataclasses
from collections.abc import Mapping

import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel

from sslmlflow.config.options import as_text
from sslmlflow.config.sweep import PAPER_MODELS, Sweep
from sslmlflow.data.bit_depth import FULL
from sslmlflow.data.opening import dataset_spec, open_and_tell
from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import DatasetSpec, ImageSets
from sslmlflow.encoders import Encoder, EncoderSpec, build_encoder, check_pretrained, published
from sslmlflow.errors import ConfigError, UserError
from sslmlflow.evaluation.evaluate import evaluate
from sslmlflow.evaluation.monitor import Monitor
from sslmlflow.memory import peak_mb, start_peak
from sslmlflow.metrics.catalogue import CRR_ADJUSTED, CRR_PER_DIMENSION
from sslmlflow.milestone.milestone import write_untrained
from sslmlflow.reporting.across_models import SWEPT, swept_runs, tell_transfer
from sslmlflow.reporting.history import histories_of
from sslmlflow.rules import rule_texts
from sslmlflow.runs.training import resolved
from sslmlflow.shortage import out_of_memory
from sslmlflow.tracking.logged_models import log_missing_metrics, send_milestone
from sslmlflow.tracking.run import TrackedRun, tracked_run
from sslmlflow.tracking.server import check_experiment, connect, is_there
from sslmlflow.training.device import choose_machine


def run(config: Sweep) -> None:
    """Sweep from the command line or `mlflow run`; fails at its end if any model did."""
    names = _names(config)
    device = choose_machine(config.device, "float32").device
    client = connect()
    check_experiment(client)
    spec = dataset_spec(config, labels=config.labels)
    sets = open_and_tell(spec)
    data = {**sets.fingerprints, **rule_texts()}
    title = f"sweep over {len(names)} models on {sets.name}"
    with tracked_run("sweep", config, title, config.resume, data) as tracked:
        failed: dict[str, UserError] = {}
        for place, name in enumerate(names, start=1):
            print(f"\n{name} ({place} of {len(names)})")
            if _done(client, tracked, name):
                print("was measured before")
                continue
            if error := _try(tracked, config, spec, sets, name, device):
                failed[name] = error
        histories = histories_of(client, swept_runs(client, tracked.run_id))
        tell_transfer(tracked, histories, {name: str(error) for name, error in failed.items()})
        if failed:
            told = "\n".join(f"  {name}: {error}" for name, error in failed.items())
            # What is asked for the wrong way goes wrong again.
            again = f"\n--resume={tracked.run_id} tries them again." if not _all_refused(failed) else ""
            raise UserError(f"{len(failed)} of {len(names)} models could not be measured:\n{told}{again}")


def _all_refused(failed: Mapping[str, UserError]) -> bool:
    return all(isinstance(error, ConfigError) for error in failed.values())


def _names(config: Sweep) -> list[str]:
    names = list(dict.fromkeys(config.models or PAPER_MODELS))
    try:
        for name in names:
            check_pretrained(name)
    except ConfigError as error:
        raise ConfigError(f"models={as_text(config.models)} is not possible: {error}") from None
    return names


def _done(client: MlflowClient, tracked: TrackedRun, name: str) -> bool:
    done = client.get_run(tracked.run_id).data.tags.get(f"{SWEPT}.{name}")
    return is_there(client, done)


def _try(
    tracked: TrackedRun, config: Sweep, spec: DatasetSpec, sets: ImageSets, name: str, device: torch.device
) -> UserError | None:
    """Measure one model in a run below the sweep's; why it failed, if it did: the others are measured all the same."""
    one = dataclasses.replace(config, models=(name,))
    try:
        with tracked_run("swept", one, name, "auto", {"parent": tracked.run_id}, below=tracked) as child:
            try:
                _measure(child, one, spec, sets, name, device)
            except UserError as error:
                child.describe(f"Failed: {error}")
                raise
            except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                failed = f"out of memory with batch_size={config.batch_size}: give a smaller one."
                child.describe(f"Failed: {failed}")
                raise UserError(failed) from error
            tracked.set_tags({f"{SWEPT}.{name}": child.run_id})
    except UserError as error:
        print(f"failed: {error}")
        return error
    return None


def _measure(
    child: TrackedRun, config: Sweep, spec: DatasetSpec, sets: ImageSets, name: str, device: torch.device
) -> None:
    """Keep the model as a milestone of epoch 0, measure its rates at once, and have it evaluated."""
    start_peak(device)
    encoder_spec, preprocessing = _how(config, sets, name)
    how = {
        "image_size": preprocessing.image_size,
        "bit_depth": sets.bit_depth,
        "scaled_to": encoder_spec.image_size,
        "data_dir": spec.folder,
        "device": device,
        "weights": published(name).weights if encoder_spec.published else "random",
    }
    child.log_missing_params(resolved(how))
    encoder = build_encoder(encoder_spec, seed=0).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    watched = config.monitor_images, config.eps, config.data_seed
    monitor = Monitor(sets.monitored, preprocessing, encoder_spec.early, *watched)
    about = {
        "epoch": 0,
        "method": None,
        "method_options": None,
        "dataset": {"train_fingerprint": sets.train.fingerprint},
        "preprocessing": preprocessing.as_json(),
        "monitor": monitor.settings,
        "tags": {"sslmlflow.monitor": monitor.digest},
    }
    folder = child.folder / "milestones" / "epoch-000000"
    write_untrained(folder, encoder_spec, about)
    model = child.client.get_logged_model(send_milestone(child.client, child.run_id, 0, folder))
    _log_rates(child, model, monitor, encoder)
    evaluate(child, spec, sets, config, [model], device)
    if (peak := peak_mb(device)) is not None:
        child.client.log_metric(child.run_id, "memory/peak_mb", peak, step=0, model_id=model.model_id)


def _how(config: Sweep, sets: ImageSets, name: str) -> tuple[EncoderSpec, Preprocessing]:
    """How the model is built, and how images are scaled and normalised for it."""
    how = published(name)
    channels, size, _ = sets.train.shape
    spec = EncoderSpec(
        name,
        "imagenet",
        image_size=config.image_size or how.image_size,
        published=config.weights == "published",
        upscale=True,
        block=config.batch_size,
    )
    return spec, Preprocessing(size, channels, how.mean, how.std, sets.bit_depth or FULL)


def _log_rates(child: TrackedRun, model: LoggedModel, monitor: Monitor, encoder: Encoder) -> None:
    results, _ = monitor.measure(encoder)
    values = results.logged()
    if CRR_ADJUSTED in values:
        values[CRR_PER_DIMENSION] = values[CRR_ADJUSTED] / encoder.embedding_width
    log_missing_metrics(child.client, child.run_id, model, values)
    undefined = {f"undefined.{key.replace('/', '.')}": why for key, why in results.undefined.items()}
    child.client.set_logged_model_tags(model.model_id, undefined)
