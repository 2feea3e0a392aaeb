"""One step of UMM against one step of the method on the same batch, in one run: seconds and memory.

Both sides train a CIFAR ResNet-18 on the same resident random views. Seconds: they take turns, and the ratio is that
of the medians. Memory: each side takes its steps in a process of its own, and counted is what its peak has risen by
since just before the first step (on a GPU the peak of what torch has allotted); the ratio is that of the two.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from sslmlflow.encoders import EncoderSpec, build_encoder
from sslmlflow.methods import METHODS, Batch, Progress, build_method
from sslmlflow.training.device import Machine, choose_machine, memory_format
from sslmlflow.training.optimisers import Optimising
from sslmlflow.training.schedules import Rates
from sslmlflow.training.state import State
from sslmlflow.training.step import TakeStep, ssl_step, start_state
from sslmlflow.umm.objective import Weights
from sslmlflow.umm.step import Umm

RATES = Rates(0.1)
UMM = Umm(Weights(alpha=0.1, beta=1.0, density="proj_out", directions=8, js_images=64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=sorted(METHODS))
    parser.add_argument("--widths", type=int, nargs="+", default=[16])
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--turns", type=int, default=5, help="steps of each side")
    parser.add_argument("--side", choices=("ssl", "umm"), help="take two steps and print the memory they needed")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.side:
        print(memory(arguments.methods[0], arguments.widths[0], arguments.batch_size, arguments.side))
        return
    cases = [(method, width) for width in arguments.widths for method in arguments.methods]
    # Before this process grows: a new process starts with the peak of the one that started it.
    needed = {case: [in_own_process(*case, arguments.batch_size, side) for side in ("ssl", "umm")] for case in cases}
    rows = []
    print("method    width   ssl, s   umm, s  ratio  ssl, MB  umm, MB  ratio")
    for method, width in cases:
        ssl, umm = seconds(method, width, arguments.batch_size, arguments.turns)
        ssl_mb, umm_mb = needed[method, width]
        rows.append([method, width, ssl, umm, umm / ssl, ssl_mb, umm_mb, umm_mb / ssl_mb])
        times = f"{method:8}  {width:5d}  {ssl:7.3f}  {umm:7.3f}  {umm / ssl:5.2f}"
        print(f"{times}  {ssl_mb:7,.0f}  {umm_mb:7,.0f}  {umm_mb / ssl_mb:5.2f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


def seconds(method: str, width: int, batch_size: int, turns: int) -> tuple[float, float]:
    """Median seconds of a step of either side; the first turn, which warms up, does not count."""
    machine = choose_machine("auto", "auto")
    batch = make_batch(batch_size, machine)
    sides = [(side, *prepared(method, width, machine, side)) for side in ("ssl", "umm")]
    took: dict[str, list[float]] = {"ssl": [], "umm": []}
    for _ in range(turns + 1):
        for side, state, step in sides:
            started = time.perf_counter()
            step(state, batch, Progress(0.5, 1.0), RATES, machine)
            if machine.device.type == "cuda":
                torch.cuda.synchronize()
            took[side].append(time.perf_counter() - started)
    return statistics.median(took["ssl"][1:]), statistics.median(took["umm"][1:])


def memory(method: str, width: int, batch_size: int, side: str) -> float:
    """MB that two steps of one side need beyond what is there before them."""
    machine = choose_machine("auto", "auto")
    batch = make_batch(batch_size, machine)
    state, step = prepared(method, width, machine, side)
    before = peak(machine)
    for _ in range(2):
        step(state, batch, Progress(0.5, 1.0), RATES, machine)
    return peak(machine) - before


def peak(machine: Machine) -> float:
    if machine.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def in_own_process(method: str, width: int, batch_size: int, side: str) -> float:
    given = ["--methods", method, "--widths", str(width), "--batch_size", str(batch_size), "--side", side]
    done = subprocess.run([sys.executable, "-m", "benchmarks.umm_step", *given], check=True, capture_output=True)
    return float(done.stdout)


def prepared(name: str, width: int, machine: Machine, side: str) -> tuple[State, TakeStep]:
    encoder = build_encoder(EncoderSpec(width=width), seed=0)
    method = build_method(name, None, encoder, seed=0)
    method.to(machine.device, memory_format=memory_format(encoder, machine.device))  # type: ignore[call-overload]
    method.train()
    return (
        (start_state(method, Optimising()), ssl_step) if side == "ssl" else (UMM.start(method, Optimising()), UMM.step)
    )


def make_batch(batch_size: int, machine: Machine) -> Batch:
    generator = torch.Generator().manual_seed(0)
    views = torch.randn(2 * batch_size, 3, 32, 32, generator=generator).to(machine.device)
    views = views.contiguous(memory_format=torch.channels_last).unflatten(0, (2, batch_size))
    return Batch((views,), torch.arange(batch_size), (torch.zeros(2, batch_size, 4),))


if __name__ == "__main__":
    main()
