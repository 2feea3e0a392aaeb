"""Entry point `umm`: tune the late part of a milestone without labels, and keep milestones of that."""

from sslmlflow.config.umm import Umm
from sslmlflow.distributed import rank
from sslmlflow.restarts import forget
from sslmlflow.runs.origin import Origin
from sslmlflow.runs.several import follow, found_by_first, prepared
from sslmlflow.runs.start import starting_milestone
from sslmlflow.runs.train import train_to_end
from sslmlflow.runs.umm import prepare, umm_run
from sslmlflow.tracking.server import check_experiment, connect


def run(config: Umm) -> None:
    """Tune from the command line or `mlflow run`."""
    origin = _origin(config)
    training = prepared(lambda: prepare(config, origin))
    if rank():
        follow(training)
        return
    training.monitor.warn_of_few_images()
    with umm_run(config, training, origin) as tracked:
        train_to_end(tracked, training)
    forget()
    print(f"run {tracked.run_id}: `sslmlflow evaluate --run={tracked.run_id}` measures its milestones")


def _origin(config: Umm) -> Origin:
    found: list[Origin] = []

    def find() -> str:
        client = connect()
        check_experiment(client)
        found.append(Origin.of(client, starting_milestone(client, config.run, config.milestone)))
        return found[0].as_text()

    text = found_by_first(find)
    return found[0] if found else Origin.from_text(text)
