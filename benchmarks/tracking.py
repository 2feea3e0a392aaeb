"""What telling MLflow costs a training: seconds of the training thread, and of the thread that sends.

A real training runs with its spool, its sender and a database of its own. Counted are the wall seconds that the
training thread spends handing values to the spool, and the CPU seconds of the sending thread; both are compared with
the wall seconds of the training. Milestones are left out: they are files, and rare.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from mlflow import MlflowClient

from benchmarks.loop import new_state
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.runs.pretraining import prepare
from sslmlflow.runs.retention import after_sending
from sslmlflow.tracking.sender import Sender
from sslmlflow.tracking.spool import Spool
from sslmlflow.training.loop import Step, train


class TimedSender(Sender):
    """A sender that knows the CPU seconds of its thread."""

    cpu_seconds = 0.0

    def _drain(self, spool: Spool) -> None:
        started = time.thread_time()
        super()._drain(spool)
        self.cpu_seconds += time.thread_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    training = prepare(Pretrain(width=arguments.width, epochs=arguments.epochs, milestone_every=10**6))
    with tempfile.TemporaryDirectory() as folder:
        client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
        run_id = client.create_run("0").info.run_id
        spool = Spool(Path(folder) / "spool.db")
        sender = TimedSender(spool.path, client, run_id, after_sending(client, run_id))
        started, handing = time.perf_counter(), 0.0
        for event in train(new_state(training), training.sets.train, training.plan, training.machine):
            if isinstance(event, Step):
                before = time.perf_counter()
                spool.add_metrics(
                    {"train/loss": event.losses["loss"], "train/lr": event.lr, "train/x": 1.0}, event.step
                )
                handing += time.perf_counter() - before
        total = time.perf_counter() - started
        sender.close()
        points = len(client.get_metric_history(run_id, "train/loss"))
    row = {
        "steps": points,
        "training_s": total,
        "training_thread_share": handing / total,
        "sending_thread_share": sender.cpu_seconds / total,
    }
    print(f"{points} steps in {total:.1f} s: training thread {row['training_thread_share']:.3%}, ", end="")
    print(f"sending thread {row['sending_thread_share']:.3%} of the training's time")
    if arguments.json:
        arguments.json.write_text(json.dumps(row, indent=2))


if __name__ == "__main__":
    main()
