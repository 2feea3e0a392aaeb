from math import gcd

import pytest

from sslmlflow.metrics.unlabelled.shifts import fixed_shifts


@pytest.mark.parametrize("v", [2, 3, 4])
@pytest.mark.parametrize("n", [5, 7, 8, 9, 10, 11, 20, 100, 360, 997, 10_000])
def test_no_two_views_of_an_image_meet(v, n):
    shifts = fixed_shifts(v, n)
    assert len(set(shifts)) == 3
    for shift in shifts:
        for image in range(n):
            sources = {(image + k * shift) % n for k in range(v)}
            assert len(sources) == v


@pytest.mark.parametrize("n", [20, 100, 360, 997, 10_000])
def test_shifts_are_far_distinct_and_share_no_factor(n):
    shifts = fixed_shifts(2, n)
    assert all(n / 10 <= shift <= n / 2 and gcd(shift, n) == 1 for shift in shifts)
    assert len({frozenset((shift, n - shift)) for shift in shifts}) == 3


@pytest.mark.parametrize(("v", "n"), [(2, 0), (2, 1), (2, 3), (3, 4), (4, 6), (9, 8)])
def test_too_few_images_are_refused(v, n):
    with pytest.raises(ValueError, match=f"{n} images are too few"):
        fixed_shifts(v, n)
