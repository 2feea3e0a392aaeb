"""How long the gradients of UMM's terms are before the first step: the unit in which its weights are searched."""

from collections.abc import Iterable, Sequence
from math import inf
from statistics import median

from torch.nn.attention import SDPBackend, sdpa_kernel

from sslmlflow.methods import Batch, Method, Progress
from sslmlflow.training.device import Machine
from sslmlflow.umm.fixed_early import fixed_early, tuned_parameters
from sslmlflow.umm.hypergradient import gradient
from sslmlflow.umm.objective import LATE, Objectives, Weights

TERMS = {"alpha": "coding rate reduction", "beta": "divergence of the densities"}


def balance(
    wanted: Sequence[str], method: Method, batches: Iterable[Batch], weights: Weights, machine: Machine, seed: int
) -> dict[str, float]:
    """Return the weights with which the terms pull the late part as strongly as the loss does.

    That is the length of the loss' gradient over that of the term's, each the median over the batches.

    Args:
        wanted: Weights by name: alpha, of the coding rate reduction, and beta, of the divergence.
        method: As it is before the first step, in train mode; left as it is.
        batches: Some batches of views.
        weights: How the terms are computed; alpha and beta have no part in it.
        machine: Device and precision.
        seed: Of the directions in which volumes are taken, and of dropout.

    Raises:
        ValueError: A term has no gradient, or a volume is zero or not finite.
    """
    names = list(tuned_parameters(method))
    late = [place for place, name in enumerate(names) if name.startswith(LATE)]
    lengths = []
    for batch in batches:
        with fixed_early(method, batch, machine) as maps, sdpa_kernel(SDPBackend.MATH):
            terms = Objectives(method, batch, maps[0], names, weights, machine, seed, Progress(0.0, inf))
            phi = tuple(tuned_parameters(method).values())
            by_weight = {"alpha": terms.reduction, "beta": terms.divergence}
            found = (gradient(term, phi)[1] for term in (terms.loss, *(by_weight[name] for name in wanted)))
            lengths.append([sum(float(slopes[place].square().sum()) for place in late) ** 0.5 for slopes in found])
    loss, *of_terms = (median(of_term) for of_term in zip(*lengths, strict=True))
    for name, length in zip(wanted, of_terms, strict=True):
        if not length > 0:
            raise ValueError(f"the {TERMS[name]} has no gradient in the late part")
    if not loss > 0:
        raise ValueError("the loss has no gradient in the late part")
    return {name: loss / length for name, length in zip(wanted, of_terms, strict=True)}
