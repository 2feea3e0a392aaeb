"""Every method, narrow enough for tests, around an encoder of two convolutions."""

import torch

from sslmlflow.methods import Batch, Method, build_method
from tests.encoders.tiny import tiny_encoder
from tests.methods.batch import batch_of

OPTIONS = {
    "simclr": "hidden_width=8,projection_width=4",
    "simsiam": "projection_width=8,bottleneck_width=4",
    "moco-v2": "hidden_width=8,projection_width=4,queue_size=10",
    "byol": "hidden_width=8,projection_width=4",
    "barlow-twins": "hidden_width=8,projection_width=8",
    "vicreg": "hidden_width=8,projection_width=8",
    "vicregl": "hidden_width=8,projection_width=8,local_width=6",
    "swav": "hidden_width=8,projection_width=4,prototypes=6,queue_size=10",
    "dino": "hidden_width=8,bottleneck_width=4,prototypes=6,teacher_momentum=0.9,teacher_temperature_epochs=2",
}


def narrow(name: str, dropout: float = 0.0) -> Method:
    """A method in train mode."""
    return build_method(name, OPTIONS[name], tiny_encoder(dropout=dropout), seed=0).train()


def some_batch(name: str, n: int = 6, seed: int = 3) -> Batch:
    """Two views of n images, and three small ones for a method that takes them; every crop was taken elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(2, 8), (3, 4)] if type(narrow(name)).recipe.multi_crop else [(2, 8)]
    batch = batch_of(*(torch.rand(count, n, 3, size, size, generator=generator) for count, size in sizes))
    boxes = tuple(torch.rand(count, n, 4, generator=generator) for count, _ in sizes)
    return batch._replace(boxes=boxes)
