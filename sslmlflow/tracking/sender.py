"""A thread that takes what the spool holds to the tracking server; the training never waits for it."""

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric

from sslmlflow.errors import in_short
from sslmlflow.tracking.claim import Claim
from sslmlflow.tracking.logged_models import send_milestone
from sslmlflow.tracking.patience import SEND_SECONDS, STOPPED_SEND_SECONDS, comes_to_its_end
from sslmlflow.tracking.spool import Point, Spool, left_in

AfterSending = Callable[[Spool], None]
PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


class Sender:
    """Drains a run's spool, the file `path`, until closed; an outage is waited out, with growing pauses.

    `after_sending` is called once milestones have arrived. Nothing more is sent once `claim` shows that the run is
    another process's.
    """

    def __init__(
        self,
        path: Path,
        client: MlflowClient,
        run_id: str,
        after_sending: AfterSending | None = None,
        claim: Claim | None = None,
    ) -> None:
        self._path = path
        self._claim = claim
        self._client = client
        self._run_id = run_id
        self._after_sending = after_sending
        self._closing, self._given_up = threading.Event(), threading.Event()
        self._update_due = True
        self._drained = False
        self._thread = threading.Thread(target=self._work, name="sslmlflow-sender", daemon=True)
        self._thread.start()

    def close(self, patience_seconds: float = SEND_SECONDS) -> bool:
        """Send what is left; whether all was sent. If not, say so and leave the rest on disk."""
        self._closing.set()
        if not comes_to_its_end(self._thread, patience_seconds, STOPPED_SEND_SECONDS):
            self._given_up.set()
        left = left_in(self._path)
        if self._claim and self._claim.lost:
            return False
        if left:
            print(
                f"sslmlflow: {left} metric points and milestones could not be sent to the tracking server. They are "
                f"kept in {self._path}; `sslmlflow sync --run={self._run_id}` sends them.",
                file=sys.stderr,
            )
        elif not self._drained:
            print(
                "sslmlflow: the tracking server has all metric points and milestones, but was not told which are the "
                "best, or not to be kept.",
                file=sys.stderr,
            )
        return self._drained and not left

    def _work(self) -> None:
        spool: Spool | None = None
        pause = PAUSE_SECONDS
        said = ""
        while True:
            closing = self._closing.is_set()
            try:
                if self._claim and not self._claim.holds():
                    return
                spool = spool or self._opened()
                self._drain(spool)
                pause = PAUSE_SECONDS
                if closing:
                    spool.close()
                    self._drained = True
                    return
            except Exception as error:  # whatever the server does, the training goes on
                if in_short(error) != said:
                    said = in_short(error)
                    with contextlib.suppress(OSError):  # of a terminal that is gone
                        print(f"sslmlflow: MLflow did not take what was sent, trying again: {said}", file=sys.stderr)
                if self._given_up.is_set():
                    return
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            if closing:
                time.sleep(PAUSE_SECONDS)
            else:
                self._closing.wait(pause)

    def _opened(self) -> Spool:
        spool = Spool(self._path)
        for folder in spool.sent_folders():  # a kill may have left them
            shutil.rmtree(folder, ignore_errors=True)
        return spool

    def _drain(self, spool: Spool) -> None:
        self._send_metrics(spool)
        missing: FileNotFoundError | None = None
        for epoch, folder in spool.unsent_milestones():
            try:
                self._send_milestone(spool, epoch, folder)
            except FileNotFoundError as error:  # somebody removed its files: the others can be sent all the same
                missing = error
        if self._update_due and self._after_sending:
            self._after_sending(spool)
        self._update_due = False
        if missing:
            raise missing

    def _send_milestone(self, spool: Spool, epoch: int, folder: Path) -> None:
        spool.milestone_sent(epoch, send_milestone(self._client, self._run_id, epoch, folder))
        spool.sync()  # a power failure that forgets this must not find the files gone
        shutil.rmtree(folder, ignore_errors=True)
        self._update_due = True
        self._send_metrics(spool)

    def _send_metrics(self, spool: Spool) -> None:
        while points := spool.unsent_metrics():
            models = spool.model_ids()
            self._client.log_batch(self._run_id, metrics=[_metric(point, models) for point in points])
            spool.metrics_sent(points)


def _metric(point: Point, models: dict[int, str]) -> Metric:
    model_id = None if point.milestone is None else models[point.milestone]
    return Metric(point.key, point.value, point.timestamp, point.step, model_id=model_id)
