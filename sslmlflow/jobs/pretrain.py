"""Entry point `pretrain`: train an encoder without labels, with milestones."""

from sslmlflow.config.pretrain import Pretrain
from sslmlflow.distributed import rank
from sslmlflow.restarts import forget
from sslmlflow.runs.pretraining import prepare
from sslmlflow.runs.several import follow, prepared
from sslmlflow.runs.train import log_views, require_checkpoints, train_to_end
from sslmlflow.tracking.run import tracked_run


def run(config: Pretrain) -> None:
    """Train from the command line or `mlflow run`."""
    training = prepared(lambda: prepare(config))
    if rank():
        follow(training)
        return
    training.monitor.warn_of_few_images()
    with tracked_run(
        "pretrain", config, training.name, config.resume, training.data, check=require_checkpoints
    ) as tracked:
        log_views(tracked, training)
        train_to_end(tracked, training)
    forget()
    print(f"run {tracked.run_id}: `sslmlflow evaluate --run={tracked.run_id}` measures its milestones")
