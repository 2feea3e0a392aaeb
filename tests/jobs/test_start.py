"""A training that starts from the weights of another: linked to it, and logged with a digest."""

import pytest

from tests.conftest import Command
from tests.jobs.small import SMALL, left_in

NARROW = ["--hidden_width=16", "--epochs=1", "--milestone_every=1"]


@pytest.mark.slow
def test_a_milestone_of_one_method_starts_another_and_more_epochs_of_the_same(
    sslmlflow: Command, environment: dict[str, str]
) -> None:
    uri = environment["MLFLOW_TRACKING_URI"]
    byol = ["pretrain", *SMALL[:-1], "--method=byol", "--projection_width=8", *NARROW]
    done = sslmlflow(*byol)
    assert done.returncode == 0, done.stderr
    first = left_in(uri)
    assert first.run.data.params["resolved/lr"] == "0.125"  # 1 for 256 images, and batches of 32
    last = first.milestones[-1].model_id
    refused = sslmlflow(*byol, "--epochs=2", f"--resume={first.run.info.run_id}")
    assert refused.returncode == 1
    assert "epochs was 1, now 2" in refused.stderr
    assert "start a new run with --start=MILESTONE" in refused.stderr

    dino = ["pretrain", *SMALL[:-1], "--method=dino", "--prototypes=10", "--bottleneck_width=8", *NARROW]
    digests = []
    for number, command in enumerate(([*dino, "--local_crops=2"], byol), start=1):
        done = sslmlflow(*command, f"--start={last}", MLFLOW_EXPERIMENT_NAME=str(number))
        assert done.returncode == 0, done.stderr
        run = first.client.get_run(left_in(uri, str(number)).run.info.run_id)
        assert run.data.tags["sslmlflow.milestone"] == last
        assert [model.model_id for model in run.inputs.model_inputs] == [last]
        assert run.data.params["resolved/start_holds"] == ("encoder" if number == 1 else "encoder and heads")
        digests.append(run.data.params["resolved/start_digest"])
    assert digests[0] != digests[1]
    begun = left_in(uri, "2")
    assert begun.files()[0, "encoder.safetensors"] == first.files()[1, "encoder.safetensors"]
    assert left_in(uri, "1").files()[0, "encoder.safetensors"] == first.files()[1, "encoder.safetensors"]
