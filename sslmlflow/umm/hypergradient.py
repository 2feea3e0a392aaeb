"""The gradient of an outer objective through the inner step that it is judged after.

`inner` is G and `outer` is F, functions of the parameters; lam is the inner step. One-step forms judge F at
`theta = phi - lam grad G(phi)`. Implicit forms judge it at the solution of the proximal problem
`argmin G(theta) + |theta - phi|^2 / (2 lam)`, which is approached by repeating `theta <- phi - lam grad G(theta)`:
that converges where lam times the largest curvature of G is below 1. Sources: Qiang et al., "On the Generalization
and Causal Explanation in Self-Supervised Learning", section 5.2 (approximate implicit differentiation); Liu et al.
2019, arXiv 1806.09055, section 2.3 (finite differences); Rajeswaran et al. 2019, arXiv 1909.04630, section 3
(proximal problem, conjugate gradients).
"""

from collections.abc import Callable, Sequence
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from sslmlflow.distributed import averaged, mean

NAMES = ("unroll", "first_order", "finite_diff", "aid_neumann", "aid_cg")
TOO_CURVED = "inner_lr times the curvature is above 1"
NEAR = 0.01  # of the way to the proximal solution: steps below it may be the rounding of bf16
Parameters = tuple[Tensor, ...]
Objective = Callable[[Parameters], Tensor]
Product = Callable[[Parameters], Parameters]


class Hypergradient(NamedTuple):
    """The gradient in phi, where F was judged and what it was there, and what there is to say of the computation."""

    gradient: Parameters
    theta: Parameters
    outer: Tensor
    note: str | None = None


def hypergradient(
    name: str,
    inner: Objective,
    outer: Objective,
    phi: Sequence[Tensor],
    lam: float,
    curvature: Objective | None = None,
    terms: int = 5,
) -> Hypergradient:
    """Gradient in phi of `outer` after the inner step from phi, by the way called `name`.

    `first_order` leaves out how the inner step depends on phi; `unroll` differentiates through it; `finite_diff`
    does so with two more gradients in place of a second derivative; `aid_neumann` and `aid_cg` solve
    `(I + lam H) x = grad F` at the solution of the proximal problem, by `terms` terms of the Neumann series or steps of
    conjugate gradients, after as many steps towards that solution; what grows where it should shrink is left, and the
    note says so, unless it grows within rounding only, as it does after convergence. `curvature` is the objective
    whose second derivatives H are taken, `inner` if None. phi is left as it is. Raises ValueError for an unknown name.
    """
    if name not in NAMES:
        raise ValueError(f"hypergradient={name} is not one of {', '.join(NAMES)}")
    start = tuple(p.detach() for p in phi)
    if name == "unroll" and curvature is None:
        return _unrolled(inner, outer, start, lam)
    implicit = name.startswith("aid_")
    notes: list[str | None] = []
    if implicit:
        theta, left = _proximal(inner, start, lam, terms)
        notes.append(left)
    else:
        theta = _moved(start, -lam, gradient(inner, start)[1])
    value, g = gradient(outer, theta)
    curved = curvature or inner

    def times_h(v: Parameters) -> Parameters:
        return _hessian_product(curved, theta if implicit else start, v)

    if name == "unroll":
        g = _moved(g, -lam, times_h(g))
    elif name == "finite_diff":
        g = _moved(g, -lam, _difference(curved, start, g))
    elif name == "aid_neumann":
        g, stopped = _neumann(g, lam, times_h, terms)
        notes.append(stopped)
    elif name == "aid_cg":
        g, stopped = _conjugate_gradients(g, lam, times_h, terms)
        notes.append(stopped)
    return Hypergradient(g, theta, value, "; ".join(filter(None, notes)) or None)


def gradient(objective: Objective, at: Sequence[Tensor]) -> tuple[Tensor, Parameters]:
    """Value and gradient of an objective at detached copies of `at`."""
    leaves = tuple(p.detach().requires_grad_() for p in at)
    value = objective(leaves)
    return mean(value.detach()), averaged(torch.autograd.grad(value, leaves, materialize_grads=True))


def _unrolled(inner: Objective, outer: Objective, start: Parameters, lam: float) -> Hypergradient:
    """`unroll` with the graph of the inner step kept for its second derivatives, which spares computing it again."""
    leaves = tuple(p.detach().requires_grad_() for p in start)
    slopes = torch.autograd.grad(inner(leaves), leaves, create_graph=True, materialize_grads=True)
    theta = _moved(start, -lam, averaged(slopes))
    value, g = gradient(outer, theta)
    bent = averaged(torch.autograd.grad(_dot(slopes, g), leaves, materialize_grads=True))
    return Hypergradient(_moved(g, -lam, bent), theta, value)


def _hessian_product(objective: Objective, at: Parameters, v: Parameters) -> Parameters:
    leaves = tuple(p.detach().requires_grad_() for p in at)
    slopes = torch.autograd.grad(objective(leaves), leaves, create_graph=True, materialize_grads=True)
    return averaged(torch.autograd.grad(_dot(slopes, v), leaves, materialize_grads=True))


def _difference(objective: Objective, at: Parameters, v: Parameters) -> Parameters:
    """The Hessian times v from gradients on both sides, the step as long as in the source."""
    length = float(_dot(v, v).sqrt())
    if length == 0:
        return v
    h = 0.01 / length
    ahead, behind = (gradient(objective, _moved(at, side * h, v))[1] for side in (1, -1))
    return tuple((a - b) / (2 * h) for a, b in zip(ahead, behind, strict=True))


def _proximal(inner: Objective, start: Parameters, lam: float, steps: int) -> tuple[Parameters, str | None]:
    """Repeat `theta <- start - lam grad G(theta)` while its steps do not grow."""
    theta, length = start, inf
    for step in range(steps):
        closer = _moved(start, -lam, gradient(inner, theta)[1])
        last = _moved(closer, -1, theta)
        moved = float(_norm(last))
        if not moved <= length:
            # Near the solution steps also grow within rounding; a curvature above 1 / lam would stretch this one.
            way = _moved(closer, -1, start)
            near = moved <= NEAR * float(_norm(way)) or _is_rounding(last, start)
            if near and lam * float(_norm(_hessian_product(inner, theta, last))) <= moved:
                return theta, None
            return theta, f"{TOO_CURVED}: the proximal problem was left at step {step + 1}"
        theta, length = closer, moved
    return theta, None


def _neumann(g: Parameters, lam: float, times_h: Product, terms: int) -> tuple[Parameters, str | None]:
    """Add terms of the series while they do not grow."""
    total = term = g
    length = float(_norm(g))
    for number in range(terms):
        term = tuple(-lam * part for part in times_h(term))
        if not float(_norm(term)) <= length:
            left = f"{TOO_CURVED}: the Neumann series was left at term {number + 1}"
            return total, None if _is_rounding(term, total) else left
        total, length = _moved(total, 1, term), float(_norm(term))
    return total, None


def _conjugate_gradients(g: Parameters, lam: float, times_h: Product, steps: int) -> tuple[Parameters, str | None]:
    x = tuple(torch.zeros_like(part) for part in g)
    residual = direction = g
    size = _dot(g, g)
    for step in range(steps):
        if size == 0:
            break
        along = _moved(direction, lam, times_h(direction))
        bend = _dot(direction, along)
        if bend <= 0 and _is_rounding(residual, g):
            break
        if bend <= 0:
            # The system is not positive definite here: what was found before this direction is kept.
            return (x if step else g), f"negative curvature at step {step + 1} of conjugate gradients: stopped there"
        x = _moved(x, size / bend, direction)
        residual = _moved(residual, -size / bend, along)
        size, before = _dot(residual, residual), size
        direction = _moved(residual, size / before, direction)
    return x, None


def _moved(a: Parameters, share: float | Tensor, b: Parameters) -> Parameters:
    """a + share b."""
    return tuple(x + share * y for x, y in zip(a, b, strict=True))


def _is_rounding(part: Parameters, whole: Parameters) -> bool:
    """Whether a part is of the size of what rounding does to the whole."""
    return float(_norm(part)) <= 4 * torch.finfo(part[0].dtype).eps * float(_norm(whole))


def _norm(a: Parameters) -> Tensor:
    return _dot(a, a).sqrt()


def _dot(a: Parameters, b: Parameters) -> Tensor:
    return torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).sum()
