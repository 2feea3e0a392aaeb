"""Early stopping: by the epochs of milestones, whether a training has passed its peak, or memorises for good."""

from collections.abc import Collection, Mapping, Sequence


def passed_peak(
    epochs: Sequence[int], values: Mapping[int, float], patience: int, lower_is_better: bool = False
) -> int | None:
    """The epoch of the best value, if `patience` milestones or more came after it; else None.

    epochs: of all milestones so far, ascending; values: the criterion by epoch, missing where it is undefined. Of
    equal values the earliest is the peak. Without any value there is no peak, and training goes on.

    >>> passed_peak([0, 5, 10, 15], {0: 1.0, 5: 2.0, 10: 1.9}, patience=2)
    5
    """
    if not values:
        return None
    sign = -1.0 if lower_is_better else 1.0
    peak = max(values, key=lambda epoch: (sign * values[epoch], -epoch))
    return peak if sum(epoch > peak for epoch in epochs) >= patience else None


def memorised_after(epochs: Sequence[int], memorising: Collection[int], patience: int) -> int | None:
    """The last epoch before the alarm, if the last `patience` milestones or more gave it; else None.

    epochs: of all milestones so far, ascending; memorising: those that gave the alarm. A training whose first
    milestone gave it never stops: its images differ from the held-out ones by themselves.

    >>> memorised_after([0, 5, 10, 15], {10, 15}, patience=2)
    5
    """
    if not epochs or epochs[0] in memorising:
        return None
    last = max(epoch for epoch in epochs if epoch not in memorising)
    return last if sum(epoch > last for epoch in epochs) >= patience else None
