"""Several processes for one job, started by torch's launcher, for `--processes` or as `torchrun -m -- sslmlflow`."""

import dataclasses
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from sslmlflow.config.options import NONE
from sslmlflow.errors import ConfigError, DivergedError, LeftQuietly, PartnerLostError, UserError, in_short
from sslmlflow.restarts import remembered, watch_launcher
from sslmlflow.shortage import import_within_limit
from sslmlflow.signals import SIGNALS

GIVEN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # to a process by the launcher
NEW_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"  # of torch: each start of the processes has a meeting place of its own
STOPPED = 128  # and the number of a signal: exit code of a process that it stopped
LEFT = 75  # exit code of a process that ends because another did, or refuses what process 0 reports
END_SECONDS = 10.0  # in which the launcher has ended what is left, if it is on the machine of process 0
STOP_SECONDS = 120  # in which the processes finish a step, save it and send it


def is_launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return all(name in os.environ for name in GIVEN) and int(os.environ["WORLD_SIZE"]) > 1


def number() -> int:
    """The number of this process among those of its job."""
    return int(os.environ["RANK"]) if is_launched() else 0


def processes_of(config: object) -> int:
    """How many processes are to be launched for a job; `auto` is one per GPU, and one without a GPU."""
    if is_launched():
        return 1
    given: int | None = getattr(config, "processes", 1)
    if given is not None:
        return given
    if getattr(config, "device", "auto") not in ("auto", "cuda"):
        return 1
    gpus: int = import_within_limit("torch").cuda.device_count()
    return max(gpus, 1)


def as_restarted(config: Any) -> Any:
    """The parameters of a command that torchrun restarts (`--max-restarts`): it resumes its run."""
    trains_together = hasattr(config, "processes") and hasattr(config, "resume")
    if not trains_together or config.resume != NONE or (run_id := remembered()) is None:
        return config
    return dataclasses.replace(config, resume=run_id)


def launch(arguments: Sequence[str], count: int) -> int:
    """Run the command in so many processes of this machine; the exit code of the first that failed, else 0."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, launch_agent

    for logger in [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed")]:
        logging.getLogger(logger).setLevel(logging.CRITICAL)  # the processes themselves report
    heard = [name.name for name in SIGNALS if signal.getsignal(name) is not signal.SIG_IGN]
    later: dict[str, Any] = {
        "signals_to_handle": ",".join(heard),
        "shutdown_timeout": STOP_SECONDS,
    }  # not in every torch
    known = {field.name for field in dataclasses.fields(LaunchConfig)}
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.1,
        **{name: value for name, value in later.items() if name in known},
    )
    try:
        launch_agent(config, sys.executable, ["-m", "sslmlflow", *arguments])
    except SignalException as stopped:
        return STOPPED + stopped.sigval
    except ChildFailedError as failed:
        first = min(failed.failures.values(), key=lambda failure: (failure.exitcode == LEFT, failure.timestamp))
        return first.exitcode if first.exitcode > 0 else STOPPED - first.exitcode
    return 0


@contextmanager
def joined(config: object) -> Iterator[None]:
    """This process as one of several, where a launcher started it: it meets the others, and only the first prints."""
    if not is_launched():
        yield
        return
    if not hasattr(config, "processes"):
        raise ConfigError("this command runs in one process. Start it without torchrun.")
    count = int(os.environ["WORLD_SIZE"])
    if config.processes not in (None, 1, count):
        raise ConfigError(
            f"invalid value for processes: {config.processes} (must be auto, 1 or {count}, as started by torchrun)"
        )
    if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) and os.environ.get(NEW_STORE) != "1":
        raise ConfigError(
            f"invalid value for {NEW_STORE}: {os.environ.get(NEW_STORE, '')} (must be 1 for torchrun --max-restarts: "
            "without it, restarted processes try to connect to the addresses of the old ones)"
        )
    import torch

    from sslmlflow.distributed import together

    local, device = int(os.environ["LOCAL_RANK"]), getattr(config, "device", "auto")
    if device not in ("auto", "cpu", "cuda") or (device == "auto" and torch.backends.mps.is_available()):
        raise ConfigError(f"invalid value for device: {device} (must be cpu or cuda for several processes)")
    has_gpus = device != "cpu" and torch.cuda.is_available()
    if has_gpus:
        if local >= torch.cuda.device_count():
            raise ConfigError(
                f"invalid value for processes: {os.environ.get('LOCAL_WORLD_SIZE', count)} (must be at most "
                f"{torch.cuda.device_count()}, the number of GPUs of this machine)"
            )
        torch.cuda.set_device(local)
    if number():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the end of the process)
    with ExitStack() as stack:
        try:
            stack.enter_context(together("cpu:gloo,cuda:nccl" if has_gpus else "gloo"))
        except (RuntimeError, ValueError) as error:  # which is how torch reports everything that it finds
            raise UserError(f"the other processes cannot be reached: {in_short(error)}") from error
        try:
            yield
        except PartnerLostError:
            watch_launcher()
            if number():  # process 0 may be about to say why
                time.sleep(END_SECONDS)
            raise
        except LeftQuietly:
            _let_the_other_end_first()
            raise
        except DivergedError:
            if number():
                _let_the_other_end_first()
            raise


def _let_the_other_end_first() -> None:
    """Wait for the process that reports: the first to end gives the launcher its code, and ends all others."""
    from sslmlflow.distributed import wait_for_first

    if number():
        wait_for_first()
    time.sleep(END_SECONDS)
