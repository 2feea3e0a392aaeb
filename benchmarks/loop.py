"""The whole training loop against bare forward, backward and step on resident random tensors, in one run.

Both sides do the same arithmetic: SimCLR on a CIFAR ResNet-18, the same batch, precision and memory layout. The
loop also reads images, makes views, checks the loss and tells its events. They take turns; the ratio is that of the
median seconds a step.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch

from sslmlflow.config.pretrain import Pretrain
from sslmlflow.encoders import build_encoder
from sslmlflow.methods import Batch, build_method
from sslmlflow.runs.pretraining import Training, prepare
from sslmlflow.training.device import memory_format
from sslmlflow.training.loop import Steps, train
from sslmlflow.training.optimisers import Optimising
from sslmlflow.training.state import State
from sslmlflow.training.step import ssl_step, start_state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--turns", type=int, default=8, help="turns of each side")
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    parser.add_argument(
        "--colour", action="store_true", help="colour images of a generated folder instead of gray ones"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [measure(width, arguments) for width in arguments.widths]
    print(f"{'width':>5}  {'bare, images/s':>14}  {'loop, images/s':>14}  {'loop / bare':>11}")
    for row in rows:
        print(f"{row['width']:5d}  {row['bare']:14,.0f}  {row['loop']:14,.0f}  {row['ratio']:11.3f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


def measure(width: int, arguments: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        source = ["folder", folder] if arguments.colour else ["digit-scenes", None]
        if arguments.colour:
            make_images(Path(folder), 4 * arguments.batch_size)
        training = prepare(
            Pretrain(
                dataset=source[0],
                data_dir=source[1],
                width=width,
                batch_size=arguments.batch_size,
                milestone_every=10**6,
            )
        )
    state = new_state(training)
    loop = train(state, training.batches, training.plan, training.machine)
    bare_state = new_state(training)
    views = torch.randn(2, arguments.batch_size, 3, 32, 32, device=training.machine.device)
    batch = Batch((views,), torch.arange(arguments.batch_size), (torch.zeros(2, arguments.batch_size, 4),))
    progress, rates = training.plan.progress(1), training.plan.schedule.at(1)
    seconds: dict[str, list[float]] = {"bare": [], "loop": []}
    for turn in range(arguments.turns + 1):
        timed = {
            "bare": time_steps(lambda: ssl_step(bare_state, batch, progress, rates, training.machine), arguments.steps),
            "loop": time_steps(lambda: next_step(loop), arguments.steps),
        }
        if turn:  # the first turn warms up
            for side, took in timed.items():
                seconds[side] += took
    bare, whole = statistics.median(seconds["bare"]), statistics.median(seconds["loop"])
    return {
        "width": width,
        "batch_size": arguments.batch_size,
        "steps": len(seconds["bare"]),
        "bare": arguments.batch_size / bare,
        "loop": arguments.batch_size / whole,
        "ratio": bare / whole,
    }


def new_state(training: Training) -> State:
    encoder = build_encoder(training.encoder, 0)
    method = build_method("simclr", "", encoder, 0)
    device = training.machine.device
    method.to(device, memory_format=memory_format(encoder, device))  # type: ignore[call-overload]
    return start_state(method, Optimising())


def next_step(loop) -> None:  # type: ignore[no-untyped-def]
    while not isinstance(next(loop), Steps):
        pass


def time_steps(step, count: int) -> list[float]:  # type: ignore[no-untyped-def]
    took = []
    for _ in range(count):
        started = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        took.append(time.perf_counter() - started)
    return took


def make_images(folder: Path, count: int) -> None:
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i}.png")


if __name__ == "__main__":
    main()
