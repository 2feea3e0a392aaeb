"""What tells a tuned encoder that is better from one that only scores higher; on held-out images, without labels."""

import math

import numpy as np
import torch
from mlflow.entities import LoggedModel

from sslmlflow.data.views import fixed_views
from sslmlflow.errors import DivergedError
from sslmlflow.jobs.monitor import Monitor
from sslmlflow.jobs.training import Training
from sslmlflow.measures import HELD_OUT_LOSS
from sslmlflow.methods import Method
from sslmlflow.metrics.unlabelled.milestone import milestone_metrics
from sslmlflow.tracking.milestones import load_method, load_milestone
from sslmlflow.training.device import memory_format
from sslmlflow.tuning.checks import NOISY

NOISE = 0.3  # standard deviations of the embeddings


def soundness(training: Training, last: LoggedModel, objective: str) -> dict[str, float]:
    """The method's loss, and the objective with noise added to the embeddings, of a milestone on the monitor's images.

    An objective that is not measured while training has no value with noise.
    """
    method, _ = load_method(load_milestone(last.model_id), training.encoder.early)
    device = training.machine.device
    method.to(device, memory_format=memory_format(method.encoder, device))  # type: ignore[call-overload]
    found = {HELD_OUT_LOSS: held_out_loss(method, training.monitor, training.plan.batch_size)}
    if not math.isfinite(found[HELD_OUT_LOSS]):
        raise DivergedError(f"the method's loss on held-out images is {found[HELD_OUT_LOSS]}")
    noisy = objective_with_noise(method, training.monitor, objective)
    return found if noisy is None else {**found, NOISY: noisy}


@torch.no_grad()
def held_out_loss(method: Method, monitor: Monitor, batch_size: int) -> float:
    """The mean over batches of fixed views of the monitor's images, BatchNorm in eval mode, in float32.

    Batches are full, since contrastive losses grow with them; where there are fewer images, there is one of all.
    """
    device = next(method.parameters()).device
    method.eval()
    mean, std = monitor.preprocessing.tensors(device)
    size = min(batch_size, len(monitor.images))
    losses = []
    for batch in np.arange(len(monitor.images) // size * size).reshape(-1, size):
        images = torch.from_numpy(monitor.images.read(batch)).to(device)
        views = fixed_views(images, monitor.augmentation, mean, std, monitor.places[batch], monitor.seed)
        losses.append(method.loss(method.project(views))["loss"].item())
    return float(np.mean(losses))


def objective_with_noise(method: Method, monitor: Monitor, objective: str) -> float | None:
    """A live metric after noise of 0.3 standard deviations, of each view its own; None where it has no value."""
    views = monitor.embed(method.encoder)
    generator = torch.Generator().manual_seed(monitor.seed)
    early, last = (
        layer + NOISE * layer.std() * torch.randn(layer.shape, generator=generator, dtype=layer.dtype)
        for layer in views
    )
    return milestone_metrics(early, last, monitor.eps).values.get(objective)
