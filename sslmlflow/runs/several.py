"""What the processes of one job agree upon; process 0 leads it and is the only one that speaks to MLflow."""

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from importlib.metadata import version
from typing import TypeVar

import torch
from safetensors.torch import load, save

from sslmlflow.config.options import deciding_texts
from sslmlflow.data.opening import open_and_tell
from sslmlflow.data.source import DatasetSpec, ImageSets
from sslmlflow.distributed import any_true, largest, of_first, rank, size
from sslmlflow.errors import ConfigError, LeftQuietly, UserError
from sslmlflow.runs.training import Training
from sslmlflow.signals import stop_like, stop_number, uninterrupted
from sslmlflow.training.device import Machine
from sslmlflow.training.loop import MilestoneDue, Steps, train
from sslmlflow.training.state import State

Made = TypeVar("Made")
STEP = "step"
START = "resolved/start_"  # what process 0 alone looks up: it gives its state to the others


def found_by_first(find: Callable[[], str]) -> str:
    """What process 0 finds, for all; what it cannot find, the others refuse without a word."""
    found, refused = "", None
    if rank() == 0:
        try:
            found = find()
        except Exception as error:
            refused = error
    if any_true(refused is not None):
        raise refused or LeftQuietly
    return of_first(found.encode()).decode()


def prepared(prepare: Callable[[], Training]) -> Training:
    """Prepare a training in all processes or in none, the same in all."""

    def divided() -> Training:
        training = prepare()
        if training.plan.batch_size % size():
            raise ConfigError(
                f"invalid value for processes: {size()} (must divide the batch size, {training.plan.batch_size})"
            )
        return training

    training = by_all(divided)
    if size() > 1:
        # Each takes the same step with the same gradients; other processors round otherwise, and would drift apart.
        _check_alike({**deciding_texts(training.options), **training.data}, training.machine)
    return training


def opened(spec: DatasetSpec, machine: Machine) -> ImageSets:
    """Open the images in all processes or in none, the same in all."""
    sets = by_all(lambda: open_and_tell(spec))
    if size() > 1:
        _check_alike(sets.fingerprints, machine)
    return sets


def by_all(make: Callable[[], Made]) -> Made:
    """Make it in all processes or in none; what process 0 refuses, the others refuse without a word."""
    made, refused = [], None
    try:
        made.append(make())
    except Exception as error:
        refused = error
    by_first = bool(largest(int(refused is not None and rank() == 0)))
    by_any = any_true(refused is not None)
    if refused is not None and (rank() == 0 or not by_first):
        raise refused
    if by_any:
        raise LeftQuietly
    return made[0]


def _check_alike(data: Mapping[str, str], machine: Machine) -> None:
    """UserError in a process where what decides the result is not as in process 0; the others leave quietly."""
    on_gpu = machine.device.type == "cuda"
    processor = torch.cuda.get_device_name(machine.device) if on_gpu else torch.backends.cpu.get_cpu_capability()
    here = {"device": machine.device.type, "precision": machine.precision, "processor": processor}
    data = {"sslmlflow": version("sslmlflow"), "torch": torch.__version__, **data, **here}
    first = json.loads(of_first(json.dumps(data).encode()))
    names = {name for name in {*first, *data} if not name.startswith(START)}
    differing = sorted(name for name in names if first.get(name) != data.get(name))
    if any_true(bool(differing)) and not differing:
        raise LeftQuietly
    if differing:
        name = differing[0]
        raise UserError(
            f"{name} is {data.get(name)} here and {first.get(name)} in process 0. All processes need the "
            "same versions, parameters and images."
        )


def share_state(state: State) -> None:
    """Give all processes the state of process 0."""
    if size() == 1:
        return
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.tensors().items()}
    data = of_first(save({**tensors, STEP: torch.tensor(state.step)}) if rank() == 0 else b"")
    if rank():
        received = load(data)
        step = int(received.pop(STEP))
        state.restore(step, received)


def stop_agreed() -> bool:
    """Whether a signal came to any process; then it is as if it had come to all."""
    if number := largest(stop_number()):
        stop_like(number)
    return bool(number)


def follow(training: Training) -> None:
    """Train with process 0 in another process."""
    if any_true(False):  # process 0 asks whether it is trained already
        return
    state = training.start()
    share_state(state)
    events = train(state, training.batches, training.plan, training.machine, training.take_step)
    with uninterrupted(), closing(training.batches), closing(events):
        for event in events:
            if isinstance(event, Steps) and stop_agreed():
                break
            if isinstance(event, MilestoneDue):
                if any_true(False):  # process 0 asks whether it is to be measured
                    training.monitor.embed(state.method.measured, state.method)
                if any_true(False):  # and whether the training is to stop
                    break
        if stop_agreed():
            raise LeftQuietly  # process 0 saves, and reports the stop; asked before the signal is raised here
