"""What every process of a pair computes, and one alone of the same images: three steps of every method, and of UMM."""

import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn

from sslmlflow.config.methods import METHODS
from sslmlflow.data.preprocess import Preprocessing
from sslmlflow.data.source import ArrayImages, ImageSets
from sslmlflow.distributed import own, rank, size
from sslmlflow.encoders import EncoderSpec, build_encoder
from sslmlflow.evaluation.embedder import Embedder, Wanted
from sslmlflow.evaluation.monitor import Monitor
from sslmlflow.methods import Batch, Method, Progress
from sslmlflow.milestone.milestone import Milestone
from sslmlflow.training.batch_norm import synchronise
from sslmlflow.training.device import Machine
from sslmlflow.training.optimisers import Optimising
from sslmlflow.training.schedules import Rates
from sslmlflow.training.step import Taken, fetched, ssl_step, start_state
from sslmlflow.umm.hypergradient import NAMES
from sslmlflow.umm.objective import Weights
from sslmlflow.umm.step import Umm
from tests.methods.narrow import narrow, some_batch

CPU, HALF = (Machine(torch.device("cpu"), precision) for precision in ("float32", "bf16"))
IMAGES, STEPS, LR = 8, 3, 0.05
UMM = {name: Umm(Weights(0.1, 0.2, js_images=12), inner_lr=LR, lr=1e-3, hypergradient=name) for name in NAMES}
CASES = [*METHODS, *(f"{method} umm {way}" for method in ("simclr", "moco-v2", "dino") for way in ("unroll", "aid_cg"))]
IN_HALF = ["simclr bf16", "swav bf16"]


def steps(case: str) -> dict[str, Tensor]:
    """The method at the start, the state after each step, and the losses that are told of it, by `step.name`."""
    name, *of_umm = case.split(" ")
    method = _without_idle_biases(narrow(name))
    if size() > 1:
        synchronise(method)
    umm = UMM[of_umm[1]] if len(of_umm) > 1 else None
    state = umm.start(method, Optimising()) if umm else start_state(method, Optimising())
    take_step = umm.step if umm else ssl_step
    found = {f"start.{key}": tensor.clone() for key, tensor in method.state_dict().items()}
    for number in range(STEPS):
        torch.manual_seed(number + rank())  # as the loop does
        whole = some_batch(name, IMAGES, seed=number)
        crops, boxes = (tuple(own(of, 1) for of in part) for part in (whole.crops, whole.boxes))
        batch = Batch(crops, own(whole.indices), boxes)
        progress, rates = Progress(number / STEPS, 2.0 + number), Rates(LR, momentum=0.0)
        result = take_step(state, batch, progress, rates, HALF if case in IN_HALF else CPU)
        (losses,) = fetched([Taken(number + 1, LR, result)])
        found |= {f"{number}.{key}": tensor.clone() for key, tensor in state.tensors().items()}
        found |= {f"{number}.loss.{key}": torch.tensor(loss) for key, loss in losses.items()}
    return found


def embedded() -> dict[str, Tensor]:
    """What a milestone is measured by, of 37 held-out and 20 training images: an odd number of blocks of them."""
    method = narrow("dino")
    method.encoder.block, method.measured.block = 8, 8
    random = np.random.default_rng(0)
    held_out, train = (ArrayImages(random.integers(0, 256, (n, 3, 16, 16), np.uint8)) for n in (37, 20))
    how = Preprocessing(16, 3, (0.5,) * 3, (0.25,) * 3)
    monitor = Monitor(held_out, how, "layer3", images=37, eps=0.5, seed=0, train=train)
    found = monitor.embed(method.measured, method)
    assert found.seen
    seen = {f"seen.{name}": tensor for name, tensor in found.seen[1].items()}
    layers = {"early": found.early, "last": found.last, "lidar": found.of_more_views, "seen": found.seen[0]}
    return {**layers, **found.projections, **seen}


def evaluated() -> dict[str, Tensor]:
    """What an evaluation embeds, in process 0: some training images, augmented, and all that are held out."""
    spec, random = EncoderSpec(width=4, image_size=16, block=8), np.random.default_rng(0)
    train, test = (ArrayImages(random.integers(0, 256, (n, 3, 16, 16), np.uint8)) for n in (40, 21))
    embedder = Embedder(ImageSets("noise", train, test, ()), torch.device("cpu"))
    if rank():
        embedder.follow()
        return {}
    found = {}
    for seed in range(2):
        how = Preprocessing(16, 3, (0.5,) * 3, (0.25 + seed,) * 3)
        embedder.use(Milestone(build_encoder(spec, seed), how, seed, {"encoder": asdict(spec)}, {}))
        for name, wanted in (("train", Wanted("train", [*range(1, 40, 2)], (0, 3))), ("test", Wanted("test"))):
            found[f"{seed}.{name}.early"], found[f"{seed}.{name}.last"] = embedder.embed(wanted)
    embedder.end()
    return found


def own_images(number: int) -> Tensor:
    """What a user's program embeds in one of its processes, of images that the others do not have."""
    spec, how = EncoderSpec(width=4, image_size=16, block=4), Preprocessing(16, 3, (0.5,) * 3, (0.25,) * 3)
    milestone = Milestone(build_encoder(spec, seed=0), how, 0, {}, {})
    return milestone.embed(np.random.default_rng(number).integers(0, 256, (10 + number, 3, 16, 16), np.uint8))


def _without_idle_biases(method: Method) -> Method:
    """Less the biases before BatchNorm: their gradient is rounding, of which Adam makes whole steps."""
    for part in method.modules():
        if isinstance(part, nn.Conv2d):
            part.bias = None
    return method


def main() -> None:
    """As process `argv[1]` of the pair that meets in the folder `argv[2]`."""
    number, folder = int(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=number, world_size=2)
    for case in [*CASES, *IN_HALF]:
        _save(steps(case), folder / f"{case}-{number}")
    _save(embedded(), folder / f"embedded-{number}")
    _save(evaluated(), folder / f"evaluated-{number}")
    _save({"own": own_images(number)}, folder / f"own-{number}")
    dist.destroy_process_group()


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)


if __name__ == "__main__":
    main()
