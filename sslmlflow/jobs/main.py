"""Entry point `main`: pretrain, evaluate every milestone, report; all in one run."""

from dataclasses import replace

from sslmlflow.config.main import Main
from sslmlflow.data.opening import dataset_spec
from sslmlflow.distributed import rank
from sslmlflow.evaluation.embedder import Embedder
from sslmlflow.evaluation.evaluate import evaluate
from sslmlflow.reporting.history import history_of
from sslmlflow.reporting.report import report
from sslmlflow.restarts import forget
from sslmlflow.runs.presets import PRESETS
from sslmlflow.runs.pretraining import prepare
from sslmlflow.runs.several import follow, prepared
from sslmlflow.runs.train import log_views, require_checkpoints, train_to_end
from sslmlflow.tracking.run import tracked_run
from sslmlflow.tracking.stored import milestones_of_run


def run(config: Main) -> None:
    """Everything from the command line or `mlflow run`."""
    training = prepared(lambda: prepare(config))
    if rank():
        follow(training)
        Embedder(training.sets, training.machine.device).follow()
        return
    training.monitor.warn_of_few_images()
    with tracked_run("main", config, training.name, config.resume, training.data, check=require_checkpoints) as tracked:
        log_views(tracked, training)
        train_to_end(tracked, training)
        milestones = milestones_of_run(tracked.client, tracked.run_id)
        options = replace(config, probe=config.probe if config.probe != "auto" else PRESETS[config.preset].probe)
        tracked.log_missing_params({"resolved/probe": options.probe})
        spec = dataset_spec(config, config.image_size, config.labels)
        evaluate(tracked, spec, training.sets, options, milestones, training.machine.device)
        report(tracked, [history_of(tracked.client, tracked.run_id)], config)
    forget()
