"""How long the gradients of UMM's terms are before the first step: the unit in which its weights are searched."""

from collections.abc import Iterable
from statistics import median
from typing import NamedTuple

from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sslmlflow.methods import Method
from sslmlflow.training.device import Machine
from sslmlflow.umm.early import fixed_early, tuned_parameters
from sslmlflow.umm.hypergradient import gradient
from sslmlflow.umm.objective import LATE, Objectives, Weights


class Balance(NamedTuple):
    """The weights with which the terms pull the late part as strongly as the loss does."""

    alpha: float
    beta: float


def balance(method: Method, batches: Iterable[Tensor], weights: Weights, machine: Machine, seed: int) -> Balance:
    """Compare the gradients of the loss, of the coding rate reduction and of the divergence in the late part.

    Args:
        method: As it is before the first step, in train mode; left as it is.
        batches: Views (2, n, 3, size, size) of some batches; the median over them is taken.
        weights: How the terms are computed; alpha and beta have no part in it.
        machine: Device and precision.
        seed: Of the directions in which volumes are taken, and of dropout.

    Raises:
        ValueError: A term has no gradient, or a volume is zero or not finite.
    """
    names = list(tuned_parameters(method))
    late = [place for place, name in enumerate(names) if name.startswith(LATE)]
    lengths = []
    for views in batches:
        with fixed_early(method, views, machine) as maps, sdpa_kernel(SDPBackend.MATH):
            terms = Objectives(method, views, maps, names, weights, machine, seed)
            phi = tuple(tuned_parameters(method).values())
            found = (gradient(term, phi)[1] for term in (terms.loss, terms.reduction, terms.divergence))
            lengths.append([sum(float(slopes[place].square().sum()) for place in late) ** 0.5 for slopes in found])
    loss, reduction, divergence = (median(of_term) for of_term in zip(*lengths, strict=True))
    terms_by_name = {"loss": loss, "coding rate reduction": reduction, "divergence of the densities": divergence}
    for name, length in terms_by_name.items():
        if not length > 0:
            raise ValueError(f"the {name} has no gradient in the late part")
    return Balance(loss / reduction, loss / divergence)
