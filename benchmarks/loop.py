"""The whole training loop against bare forward, backward and step on a resident batch, in one run.

Both sides do the same arithmetic: a method on a CIFAR ResNet-18, the same batch, precision and memory layout. The
loop also reads images, makes views, checks the loss and reports its events. They take turns; the ratio is that of the
median seconds per step. `views / step` is the share of reading a batch and making its views.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sslmlflow.config.pretrain import Pretrain
from sslmlflow.methods import METHODS, method_class
from sslmlflow.runs.pretraining import prepare
from sslmlflow.training.loop import Event, Steps, train
from sslmlflow.training.step import ssl_step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--widths", type=int, nargs="+", default=[16])
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--local_crops", type=int, help="small views, of methods that take them")
    parser.add_argument("--turns", type=int, default=8, help="turns of each side")
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    parser.add_argument(
        "--colour", action="store_true", help="colour images of a generated folder instead of gray ones"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    heads = ("method", "width", "bare, images/s", "loop, images/s", "loop / bare", "views / step")
    print(f"{heads[0]:14}{heads[1]:>5}  {heads[2]:>14}  {heads[3]:>14}  {heads[4]:>11}  {heads[5]:>12}")
    rows = []
    for method in arguments.methods:
        for width in arguments.widths:
            rows.append(row := measure(method, width, arguments))
            print(
                f"{method:14}{width:5d}  {row['bare']:14,.0f}  {row['loop']:14,.0f}  {row['ratio']:11.3f}  "
                f"{row['views']:12.3f}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


def measure(method: str, width: int, arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        source = ["folder", folder] if arguments.colour else ["digit-scenes", None]
        if arguments.colour:
            make_images(Path(folder), 4 * arguments.batch_size)
        training = prepare(
            Pretrain(
                method=method,
                dataset=source[0],
                data_dir=source[1],
                width=width,
                batch_size=arguments.batch_size,
                milestone_every=10**6,
                local_crops=arguments.local_crops if method_class(method).recipe.multi_crop else None,
            )
        )
        plan, machine = training.plan, training.machine
        batch = training.batches(0)
        assert batch is not None
        loop = train(training.start(), training.batches, plan, machine)
        next_steps = NextSteps(loop)
        bare_state = training.start()
        bare_state.method.train()
        progress, rates = plan.progress(1), plan.schedule.at(1)
        seconds: dict[str, list[float]] = {"bare": [], "loop": [], "views": []}
        for turn in range(arguments.turns + 1):
            timed = {
                "bare": time_steps(lambda: ssl_step(bare_state, batch, progress, rates, machine), arguments.steps),
                "loop": [took / next_steps.count for took in time_steps(next_steps, arguments.steps)],
                "views": time_steps(lambda: training.batches(0), arguments.steps),
            }
            if turn:  # the first turn warms up
                for side, took in timed.items():
                    seconds[side] += took
        loop.close()
    bare, whole, views = (statistics.median(seconds[side]) for side in ("bare", "loop", "views"))
    return {
        "method": method,
        "width": width,
        "batch_size": arguments.batch_size,
        "steps": len(seconds["bare"]),
        "bare": arguments.batch_size / bare,
        "loop": arguments.batch_size / whole,
        "ratio": bare / whole,
        "views": views / whole,
    }


class NextSteps:
    """Continues a loop until it yields finished steps; a GPU does several before it is waited for."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self.count = 1

    def __call__(self) -> None:
        self.count = len(next(event for event in self._events if isinstance(event, Steps)).steps)


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
