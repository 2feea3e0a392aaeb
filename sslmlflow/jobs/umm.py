"""Entry point `umm`: tune the late part of a milestone without labels, and keep milestones of that."""

from sslmlflow.config.umm import Umm
from sslmlflow.runs.start import starting_milestone
from sslmlflow.runs.train import train_to_end
from sslmlflow.runs.umm import prepare, umm_run
from sslmlflow.tracking.server import check_experiment, connect


def run(config: Umm) -> None:
    """Tune from the command line or `mlflow run`."""
    client = connect()
    check_experiment(client)
    model = starting_milestone(client, config.run, config.milestone)
    training = prepare(client, config, model)
    training.monitor.warn_of_few_images()
    with umm_run(config, training, model) as tracked:
        train_to_end(tracked, training)
    print(f"run {tracked.run_id}: `sslmlflow evaluate --run={tracked.run_id}` measures its milestones")
