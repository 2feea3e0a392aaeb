"""Coding rate reduction with given classes: the supervised reference of the label-free forms."""

from typing import Any, Generic, NamedTuple, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sslmlflow.metrics.labelled.inputs import check_part
from sslmlflow.metrics.unlabelled.arrays import Array
from sslmlflow.metrics.unlabelled.determinants import as_given, check_eps, rate

Scalar = TypeVar("Scalar", float, Tensor)


class LabelledRates(NamedTuple, Generic[Scalar]):
    """`dR = R - Rc`, in nats."""

    R: Scalar
    Rc: Scalar
    dR: Scalar  # noqa: N815


@overload
def coding_rate_reduction_labels(Z: Tensor, labels: Array, eps: float = 0.5) -> LabelledRates[Tensor]: ...
@overload
def coding_rate_reduction_labels(Z: NDArray[Any], labels: Array, eps: float = 0.5) -> LabelledRates[float]: ...
def coding_rate_reduction_labels(Z: Array, labels: Array, eps: float = 0.5) -> Any:
    """Rate of all rows of Z (m, d) less the mean rate within classes: `Rc = sum_j m_j/m R(rows of class j)`.

    labels: one class, of any type, a row. `0 <= dR <= R`; 0 where all classes have the same second moments, as one
    class has. Rows are taken as they are: scale them with `unit_rows` first. Differentiable in Z where torch goes in.
    Raises ValueError for misshapen or non-finite Z, labels that are not one a row, and eps <= 0.

    Source: Yu et al. 2020, arXiv 2006.08558, section 2.2.

    >>> import numpy as np
    >>> found = coding_rate_reduction_labels(np.eye(2), np.array([0, 1]), eps=1.0)
    >>> round(found.R - found.Rc, 6) == round(found.dR, 6)
    True
    """
    check_eps(eps)
    z, classes = check_part(Z, labels, "Z", "labels")
    R = rate(z, eps)
    Rc = torch.zeros_like(R)
    _, index, counts = np.unique(classes, return_inverse=True, return_counts=True)
    order = torch.from_numpy(np.argsort(index, kind="stable")).to(z.device)
    for rows in torch.split(z[order], counts.tolist()):
        Rc = Rc + len(rows) / len(z) * rate(rows, eps)
    return LabelledRates(*as_given(Z, R, Rc, R - Rc))
