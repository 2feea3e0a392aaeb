"""How densely the late part of an encoder packs what its early part spreads, and how far that is from evenly.

Where the early embeddings z are spread evenly, the density of what the late part f makes of them falls with the
volume that f gives to a small neighbourhood of z. f maps many dimensions to few, so that volume is the coarea factor
`sqrt(det(J J^T))` of its Jacobian J at z. Source: Qiang et al., "On the Generalization and Causal Explanation in
Self-Supervised Learning", section 5.1 and theorem 5.1, whose `det(J^T J)` is 0 for such an f.
"""

from collections.abc import Callable
from math import log, sqrt

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from sslmlflow.metrics.unlabelled.arrays import to_float64

ESTIMATORS = ("proj_out", "exact", "sketch_in", "frob")
FLOOR = 1e-2  # of the mean squared singular value, added to each: dead outputs would have no volume at all
NO_VOLUME = "a volume is zero or not finite"
Map = Callable[[Tensor], Tensor]


def log_volume(J: Tensor, floor: float | Tensor = 0.0) -> Tensor:
    """Log of the volume factors (...) of maps with Jacobians J (..., d_out, d_in), in float64.

    `1/2 logdet(J J^T + floor I)`, or with `J^T J` where d_out > d_in. Raises ValueError where a volume is zero or not
    finite.

    >>> import torch
    >>> round(log_volume(torch.tensor([[3.0, 4.0]])).exp().item(), 6)  # of one output, the length of the gradient
    5.0
    """
    J = to_float64(J)
    gram = J @ J.mT if J.shape[-2] <= J.shape[-1] else J.mT @ J
    factor, failed = torch.linalg.cholesky_ex(gram + floor * torch.eye(gram.shape[-1]).to(gram))
    if failed.any() or not torch.isfinite(factor).all():
        raise ValueError(NO_VOLUME)
    volume: Tensor = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return volume


def log_volumes(f: Map, z: Tensor, estimator: str = "proj_out", k: int = 32, seed: int = 0) -> Tensor:
    """Log-volume factors (n,) of f at each of z (n, ...), in float64 and differentiable in the parameters of f.

    f maps (n, ...) to (n, d), each sample by itself: its BatchNorm must be in eval mode. `exact` takes the whole
    Jacobian, d products; `proj_out` what it does in k random orthonormal directions of the output, the same for all
    samples, times d/k; `sketch_in` what it does to k >= d random directions of the input; `frob` is the bound
    `d/2 log(|J|^2 / d)`, with |J|^2 from k directions of the output. All but `frob` raise the squared singular values
    by a hundredth of their mean. Raises ValueError for an unknown estimator, too few directions, and where a volume is
    zero or not finite.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"estimator={estimator} is not one of {', '.join(ESTIMATORS)}")
    z = z.detach()
    with torch.no_grad():
        d = f(z[:1]).shape[1]
    least = d if estimator == "sketch_in" else 1
    if k < least:
        raise ValueError(f"{estimator} needs at least {least} directions for {d} outputs, got {k}")
    generator = torch.Generator().manual_seed(seed)
    if estimator == "sketch_in":
        return _raised(_columns(f, z, k, generator))
    k = d if estimator == "exact" else min(k, d)
    J = _rows(f, z, torch.linalg.qr(torch.randn(d, k, generator=generator, dtype=torch.float64)).Q)
    if estimator == "frob":
        squared = to_float64(J).square().mean(1).sum(1)  # |J|^2 / d
        if not (torch.isfinite(squared) & (squared > 0)).all():
            raise ValueError(NO_VOLUME)
        bounds: Tensor = d / 2 * squared.log()
        return bounds
    return d / k * _raised(J)


def divergence_from_even(log_volumes: Tensor, kappa: float) -> Tensor:
    """Jensen-Shannon divergence, in nats, of the densities at n samples from even ones: 0 to ln 2.

    The density of a sample is its share of `exp(-kappa log_volume)`: kappa = 1 is the theorem's, and a smaller one
    keeps a few samples from taking all. Raises ValueError where a log-volume is not finite.

    >>> import torch
    >>> divergence_from_even(torch.tensor([2.0, 2.0, 2.0]), kappa=1.0).item()
    0.0
    """
    if not torch.isfinite(log_volumes).all():
        raise ValueError(NO_VOLUME)
    n = len(log_volumes)
    late = log_softmax(-kappa * log_volumes, dim=0)
    early = torch.full_like(late, -log(n))
    middle = torch.logaddexp(late, early) - log(2)
    return ((early - middle).mean() + (late.exp() * (late - middle)).sum()) / 2


def _rows(f: Map, z: Tensor, directions: Tensor) -> Tensor:
    """The products Q^T J (n, k, d_in) with the columns of Q (d, k), with their graph."""
    z = z.requires_grad_()
    outputs = f(z) @ directions.to(z)
    rows = [torch.autograd.grad(output.sum(), z, create_graph=True)[0].flatten(1) for output in outputs.T]
    return torch.stack(rows, dim=1)


def _columns(f: Map, z: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """J V / sqrt(k) (n, d, k) with Gaussian V, whose Gram matrix has that of J as its mean."""
    moved = []
    for _ in range(k):
        direction = torch.randn(z.shape, generator=generator).to(z)
        moved.append(torch.func.jvp(f, (z,), (direction,))[1])
    return torch.stack(moved, dim=2) / sqrt(k)


def _raised(J: Tensor) -> Tensor:
    """Log-volumes of J (n, rows, columns), with a share of their mean added to the squared singular values."""
    floor = FLOOR * to_float64(J.detach()).square().mean(0).sum() / J.shape[1]
    return log_volume(J, floor)
