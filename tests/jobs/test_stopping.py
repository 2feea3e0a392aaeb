"""When a training has passed its peak."""

import pytest

from sslmlflow.jobs.stopping import passed_peak


@pytest.mark.parametrize(
    ("values", "patience", "peak"),
    [
        ({0: 1.0, 5: 3.0, 10: 2.0, 15: 2.5}, 2, 5),
        ({0: 1.0, 5: 3.0, 10: 2.0, 15: 2.5}, 3, None),
        ({0: 1.0, 5: 3.0, 10: 2.0, 15: 3.5}, 1, None),
        ({0: 1.0, 5: 3.0, 10: 3.0, 15: 3.0}, 2, 5),  # of equal values the earliest
        ({0: 1.0, 5: 2.0}, 2, 5),  # collapsed since: milestones without a value count
        ({}, 1, None),
    ],
)
def test_the_peak_is_passed_after_so_many_milestones(values: dict[int, float], patience: int, peak: int | None) -> None:
    assert passed_peak([0, 5, 10, 15], values, patience) == peak
