"""The early part of an encoder held fixed while the late part is tuned."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sslmlflow.encoders import Encoder
from sslmlflow.errors import UserError
from sslmlflow.methods import Batch, Method
from sslmlflow.training.device import Machine


@contextmanager
def fixed_early(method: Method, batch: Batch, machine: Machine) -> Iterator[tuple[Tensor, ...]]:
    """Hold every early part in `method` in eval mode; give the early feature maps (k n, c, h, w) of each of the crops.

    What the encoder's early part makes of crops is computed once: whatever is asked of it within, of the crops or a run
    of them, is looked up, of anything else computed. Copies of the encoder (a teacher's) have early parts of their own,
    which are fixed, too.
    """
    early = method.encoder.early
    parts = [module.early for module in method.modules() if isinstance(module, Encoder)]
    with eval_mode(*parts):
        with torch.no_grad(), machine.autocast():
            maps: tuple[Tensor, ...] = tuple(early(crops.flatten(0, 1)) for crops in batch.crops)

        def look_up(images: Tensor) -> Tensor:
            for crops, of_crops in zip(batch.crops, maps, strict=True):
                flat = crops.flatten(0, 1)
                first, rest = divmod(int(images.storage_offset() - flat.storage_offset()), flat[0].numel())
                theirs = images.untyped_storage().data_ptr() == flat.untyped_storage().data_ptr()
                if theirs and not rest and images.shape[1:] == flat.shape[1:] and images.stride() == flat.stride():
                    return of_crops[first : first + len(images)]
            computed: Tensor = type(early).forward(early, images)
            return computed

        early.forward = look_up
        try:
            yield maps
        finally:
            del early.forward


@contextmanager
def eval_mode(*modules: nn.Module) -> Iterator[None]:
    """Put modules into eval mode for a while."""
    training = [part for module in modules for part in module.modules() if part.training]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def tuned_parameters(method: Method) -> dict[str, nn.Parameter]:
    """The parameters that are tuned, by name: of the late part and the heads; UserError if the late part has none."""
    tuned = {
        name: parameter
        for name, parameter in method.named_parameters()
        if parameter.requires_grad and not name.startswith("encoder.early.")
    }
    if not any(name.startswith("encoder.late.") for name in tuned):
        raise UserError(
            "the encoder is too shallow to split: all its parameters lie in the early part, and the late one, which "
            "is to be tuned, has none."
        )
    return tuned
