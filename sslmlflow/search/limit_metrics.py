"""What shows whether a tuned encoder is better or only scores higher; on held-out images, without labels."""

from collections.abc import Mapping, Sequence

import torch
from mlflow.entities import LoggedModel

from sslmlflow.evaluation.fixed_views import batched_loss
from sslmlflow.evaluation.monitor import Monitor
from sslmlflow.methods import Method
from sslmlflow.metrics.catalogue import CATALOGUE, CRR_ADJUSTED, HELD_OUT_LOSS
from sslmlflow.metrics.failures import FAILURES
from sslmlflow.metrics.unlabelled.coding_rate import coding_rate_reduction_pooled, directions
from sslmlflow.metrics.unlabelled.halves import over_halves
from sslmlflow.metrics.unlabelled.layer import LAST, layer_metrics
from sslmlflow.milestone.milestone import load_method
from sslmlflow.runs.training import Training
from sslmlflow.search.limits import NOISY, POOLED
from sslmlflow.tracking.logged_models import load_milestone
from sslmlflow.tracking.stored import deviations_of
from sslmlflow.training.device import memory_format

NOISE = 0.3  # standard deviations of the embeddings


def soundness(
    training: Training, last: LoggedModel, objective: str, values: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, Sequence[float]]]:
    """Of a milestone with metrics `values`: the objective with noise, and deviations over halves of the images."""
    method, _ = load_method(load_milestone(last.model_id), training.encoder.early)
    device = training.machine.device
    method.to(device, memory_format=memory_format(method.encoder, device))  # type: ignore[call-overload]
    noisy = objective_with_noise(method, training.monitor, objective)
    deviations = limits_over_halves(method, training.monitor, values)
    if kept := deviations_of(last):
        deviations[CRR_ADJUSTED] = kept
    return ({} if noisy is None else {NOISY: noisy}), deviations


@torch.no_grad()
def limits_over_halves(method: Method, monitor: Monitor, values: Mapping[str, float]) -> dict[str, Sequence[float]]:
    """How the held-out loss and the pooled coding rate reduction vary over halves of the monitor's images.

    `values` are those of all images; what has none, or has none of halves, is left out.
    """
    projections = monitor.held_out.project(method)
    unit = directions(monitor.held_out.embed(method.measured)[1])
    ways = {
        HELD_OUT_LOSS: lambda rows: batched_loss(method, projections, monitor.seed, rows),
        POOLED: lambda rows: float(coding_rate_reduction_pooled(unit[:, rows], monitor.eps).dR),
    }
    found: dict[str, Sequence[float]] = {}
    for key, measure in ways.items():
        if key in values:
            try:
                found[key] = over_halves(values[key], measure, len(monitor.held_out)).deviations
            except FAILURES:
                continue
    return found


def objective_with_noise(method: Method, monitor: Monitor, objective: str) -> float | None:
    """A metric of two views after noise of 0.3 standard deviations, of each view its own.

    None where it has no value, and for what is not measured on the embeddings of two views: LiDAR, the held-out loss,
    and what only `evaluate` measures.
    """
    name = CATALOGUE[objective].short_name
    if name not in LAST:
        return None
    _, last = monitor.held_out.embed(method.measured)
    generator = torch.Generator().manual_seed(monitor.seed)
    noise = torch.randn(last.shape, generator=generator, dtype=last.dtype)
    return layer_metrics(last + NOISE * last.std() * noise, monitor.eps, (name,)).values.get(name)
