"""Parameters of the commands that look after runs; they are no entry points of the MLflow Project."""

from dataclasses import dataclass

from sslmlflow.config.options import option


@dataclass(frozen=True)
class Sync:
    """Send what a tracking server that was away did not get: metrics, milestones, and how runs ended."""

    run: str | None = option(None, "run to send for; auto: every one that was begun under this SSLMLFLOW_HOME")


@dataclass(frozen=True)
class Reap:
    """Mark abandoned runs as KILLED, on this machine and on others."""

    silent_minutes: float = option(
        10.0, "a run of another machine that has given no sign of life for so long is taken for dead", above=0
    )


@dataclass(frozen=True)
class Prune:
    """Delete old runs and unused decoded images from SSLMLFLOW_HOME; MLflow keeps the runs, which cannot be resumed."""

    days: float = option(
        30.0,
        "delete runs and decoded images that were not used for this many days; what was not sent is never deleted",
        minimum=0,
    )
    dry_run: bool = option(False, "only list what would be deleted")
