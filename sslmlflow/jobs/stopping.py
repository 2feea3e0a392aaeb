"""When a training has passed its peak."""

from collections.abc import Mapping, Sequence


def passed_peak(epochs: Sequence[int], values: Mapping[int, float], patience: int) -> int | None:
    """The epoch of the highest value, if `patience` milestones or more came after it; else None.

    epochs: of all milestones so far, ascending; values: the criterion by epoch, missing where it is undefined. Of
    equal values the earliest is the peak. Without any value there is no peak, and training goes on.

    >>> passed_peak([0, 5, 10, 15], {0: 1.0, 5: 2.0, 10: 1.9}, patience=2)
    5
    """
    if not values:
        return None
    peak = max(values, key=lambda epoch: (values[epoch], -epoch))
    return peak if sum(epoch > peak for epoch in epochs) >= patience else None
