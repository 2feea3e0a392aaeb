"""The files that could not be decoded, among a run's artifacts."""

from sslmlflow.data.decoding import BAD_LIST, bad_list
from sslmlflow.data.source import ImageSets
from sslmlflow.tracking.run import TrackedRun


def log_bad_images(tracked: TrackedRun, sets: ImageSets) -> None:
    """Keep the list of the files that could not be decoded, if any."""
    if sets.bad:
        tracked.client.log_text(tracked.run_id, bad_list(sets.bad), BAD_LIST)
