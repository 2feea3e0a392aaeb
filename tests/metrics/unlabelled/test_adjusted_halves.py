"""Intervals against what fresh images from the same source really give."""

import numpy as np
import pytest
import torch
from scipy import stats

from sslmlflow.metrics.unlabelled.adjusted_halves import adjusted_halves, adjusted_interval
from sslmlflow.metrics.unlabelled.halves import Halves, difference, gap, mean_of, over_halves
from sslmlflow.metrics.unlabelled.shifts import fixed_shifts


def unit(z):
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def mixed(rng, n, d):
    """Nine of ten images nearly alike, the others all over the place: what varies is which images one has."""
    alike = np.eye(d)[0] * d**0.5 + 0.05 * rng.normal(size=(n, d))
    images = np.where(rng.random((n, 1)) < 0.1, rng.normal(size=(n, d)), alike)
    return unit(images + 0.02 * rng.normal(size=(2, n, d)))


def noisy(rng, n, d):
    """Images along axes of falling variance whose views differ by very different amounts."""
    images = rng.normal(size=(n, d)) * np.linspace(1, 0.1, d)
    return unit(images + 0.2 * np.exp(0.5 * rng.normal(size=(n, 1))) * rng.normal(size=(2, n, d)))


def rectified(rng, n, d):
    images = 2 * rng.normal(size=(n, d)) * np.linspace(1, 0.1, d)
    return unit(np.maximum(images + 0.5 * rng.normal(size=(2, n, d)), 0) + 1e-6)


def unrelated(rng, n, d):
    return unit(rng.normal(size=(2, n, d)))


def reduction(views, eps=0.5):
    """The mean over three shifts of the adjusted reduction of two views, from its equation."""
    first, second = views
    n, d = first.shape

    def rate(differences):
        scatter = differences.T @ differences / (2 * n)
        return 0.5 * np.linalg.slogdet(np.eye(d) + d / eps**2 * scatter)[1]

    shuffled = [rate(first - np.roll(second, -shift, axis=0)) for shift in fixed_shifts(2, n)]
    return np.mean(shuffled) - rate(first - second)


def fresh_values(source, n, d, draws):
    rng = np.random.default_rng(1)
    return np.array([reduction(source(rng, n, d)) for _ in range(draws)])


def fresh_intervals(source, n, d, draws, resamples):
    rng = np.random.default_rng(2)
    return [adjusted_interval(source(rng, n, d), resamples=resamples, seed=i) for i in range(draws)]


def relative_width(source, n, d, draws=300, intervals=12, resamples=60):
    """Mean width over that of the middle 95 % of fresh values, taken as normal."""
    widths = [i.high - i.low for i in fresh_intervals(source, n, d, intervals, resamples)]
    return np.mean(widths) / (2 * 1.96 * fresh_values(source, n, d, draws).std(ddof=1))


@pytest.mark.parametrize("source", [mixed, noisy])
def test_width_is_that_of_fresh_images(source):
    assert 0.75 < relative_width(source, n=300, d=24) < 1.25


@pytest.mark.parametrize("source", [mixed, noisy])
def test_few_of_many_images_give_about_the_width_of_halves(source):
    views = source(np.random.default_rng(3), 4000, 12)
    by_halves, by_few = (adjusted_interval(views, kept=kept) for kept in (None, 300))
    assert by_few.value == by_halves.value
    assert 0.7 < (by_few.high - by_few.low) / (by_halves.high - by_halves.low) < 1.4
    assert adjusted_interval(views, resamples=5, kept=2000) == adjusted_interval(views, resamples=5)
    with pytest.raises(ValueError, match="at most half of the 4000 images, got 2001"):
        adjusted_interval(views, kept=2001)


@pytest.mark.slow
@pytest.mark.parametrize("source", [mixed, noisy, rectified, unrelated])
@pytest.mark.parametrize(("n", "d"), [(200, 16), (400, 64)])
def test_width_for_more_sources(source, n, d):
    assert 0.75 < relative_width(source, n, d, draws=500, intervals=12) < 1.25


@pytest.mark.slow
@pytest.mark.parametrize("source", [mixed, noisy, rectified, unrelated])
def test_coverage(source):
    expected = fresh_values(source, 300, 32, draws=400).mean()
    covered = [i.low <= expected <= i.high for i in fresh_intervals(source, 300, 32, draws=50, resamples=60)]
    assert np.mean(covered) >= 0.86


def test_value_follows_the_equation():
    views = noisy(np.random.default_rng(0), 50, 8)
    for given in (views, torch.from_numpy(views), list(views)):
        assert adjusted_interval(given, resamples=2).value == pytest.approx(reduction(views), rel=1e-9)
    assert adjusted_interval(views, eps=0.3, resamples=2).value == pytest.approx(reduction(views, 0.3), rel=1e-9)


def test_interval_by_its_definition():
    """The middle 95 % of the values of a hundred random halves, in their own order, moved to the value."""
    views = mixed(np.random.default_rng(0), 60, 8)
    random = np.random.default_rng(0)
    halves = [reduction(views[:, sorted(random.permutation(60)[:30])]) for _ in range(100)]
    low, high = np.quantile(halves, [0.025, 0.975]) - np.mean(halves) + reduction(views)
    assert adjusted_interval(views) == pytest.approx((reduction(views), low, high), rel=1e-9)


def test_repeated_images_do_not_lower_the_interval():
    """With n near d, n images drawn with replacement have less rank; the interval stays where the value is."""
    views = noisy(np.random.default_rng(0), 60, 48)
    rng = np.random.default_rng(1)
    naive = [reduction(views[:, np.sort(rng.integers(0, 60, 60))]) for _ in range(60)]
    interval = adjusted_interval(views, resamples=60)
    assert np.quantile(naive, 0.9) < interval.low < interval.value < interval.high


def test_unrelated_views_are_not_separated_from_zero():
    interval = adjusted_interval(unrelated(np.random.default_rng(0), 200, 64))
    assert interval.low < 0 < interval.high


def test_milestones_see_the_same_halves():
    """A rotation changes every embedding and no rate: equal halves give equal intervals, others would not."""
    rng = np.random.default_rng(0)
    views = noisy(rng, 60, 8)
    rotated = views @ np.linalg.qr(rng.normal(size=(8, 8)))[0]
    assert adjusted_interval(views, seed=3) == pytest.approx(adjusted_interval(rotated, seed=3), rel=1e-9)
    assert adjusted_interval(views, seed=3).low != pytest.approx(adjusted_interval(rotated, seed=4).low, rel=1e-4)


def test_views_of_an_image_stay_together():
    """Pairs that agree exactly have no scatter within, in every half: taken apart, the interval would reach 0."""
    image = unit(np.random.default_rng(0).normal(size=(100, 8)))
    interval = adjusted_interval(np.stack([image, image]))
    assert interval.low > 0.9 * interval.value > 0


def test_level_orders_the_widths():
    views = noisy(np.random.default_rng(0), 60, 8)
    narrow, wide = (adjusted_interval(views, level=level) for level in (0.5, 0.95))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_single_precision_and_three_views():
    rng = np.random.default_rng(0)
    views = unit(rng.normal(size=(1, 60, 8)) + 0.3 * rng.normal(size=(3, 60, 8)))
    double, single = adjusted_interval(views), adjusted_interval(views.astype(np.float32))
    assert single == pytest.approx(double, rel=1e-5)
    assert double.low < double.value < double.high


@pytest.mark.parametrize(
    ("n", "options", "message"),
    [
        (7, {}, "3 images are too few"),
        (20, {"eps": 0}, "eps"),
        (20, {"resamples": 1}, "resamples"),
        (20, {"level": 1}, "level"),
        (20, {"level": 0}, "level"),
    ],
)
def test_what_is_refused(n, options, message):
    with pytest.raises(ValueError, match=message):
        adjusted_interval(unrelated(np.random.default_rng(0), n, 4), **options)


def test_eight_images_are_enough():
    interval = adjusted_interval(noisy(np.random.default_rng(0), 8, 4))
    assert interval.low <= interval.value <= interval.high


def two_encoders(rng, n, d, strengths):
    """Two views of the same images by two encoders that read the same numbers through rotations of their own."""
    latent = rng.normal(size=(n, 2 * d))
    rotations = [np.linalg.qr(rng.normal(size=(2 * d, d)))[0] for _ in strengths]
    return [
        unit(latent @ rotation + strength * rng.normal(size=(2, n, d)))
        for rotation, strength in zip(rotations, strengths, strict=True)
    ]


def test_the_interval_of_a_difference_is_that_of_students_t_over_the_same_halves():
    first, second = two_encoders(np.random.default_rng(0), 60, 6, (0.3, 0.5))
    random = np.random.default_rng(0)
    rows = [sorted(random.permutation(60)[:30]) for _ in range(20)]
    differences = np.array([reduction(first[:, half]) - reduction(second[:, half]) for half in rows])
    value = reduction(first) - reduction(second)
    for level in (0.8, 0.95):
        expected = stats.t(19, loc=value, scale=differences.std(ddof=1)).interval(level)
        found = difference(*(adjusted_halves(views, resamples=20) for views in (first, second)), level)
        assert found == pytest.approx((value, *expected), rel=1e-8)
    opposite = difference(*(adjusted_halves(views, resamples=20) for views in (second, first)), level)
    assert opposite == pytest.approx((-found.value, -found.high, -found.low), rel=1e-8)


@pytest.mark.slow
def test_equal_encoders_are_rarely_apart_and_unequal_ones_more_often_than_by_intervals_of_each():
    rng = np.random.default_rng(0)
    shares = {}
    for name, strengths in (("equal", (0.4, 0.4)), ("unequal", (0.4, 0.43))):
        paired = unpaired = 0
        for _ in range(80):
            halves = [adjusted_halves(views, resamples=40) for views in two_encoders(rng, 200, 8, strengths)]
            found = difference(*halves)
            paired += not found.low <= 0 <= found.high
            ends = [one.value + np.quantile(one.deviations, [0.025, 0.975]) for one in halves]
            unpaired += ends[0][1] < ends[1][0] or ends[1][1] < ends[0][0]
        shares[name] = paired / 80, unpaired / 80
    assert shares["equal"][0] <= 0.05 + 3 * (0.05 * 0.95 / 80) ** 0.5
    assert shares["unequal"][0] > shares["unequal"][1] + 0.1


def test_the_gap_between_other_images_is_that_of_students_t_of_both_spreads():
    first, second = two_encoders(np.random.default_rng(0), 60, 6, (0.3, 0.5))
    halves = [adjusted_halves(views, resamples=20) for views in (first[:, :30], second[:, 30:])]
    spread = np.sqrt(sum(np.var(one.deviations, ddof=1) for one in halves))
    for level in (0.8, 0.95):
        expected = stats.t(19, loc=halves[0].value - halves[1].value, scale=spread).interval(level)
        assert gap(*halves, level) == pytest.approx((halves[0].value - halves[1].value, *expected), rel=1e-8)


@pytest.mark.slow
def test_a_gap_between_images_of_one_source_is_rarely_beyond_chance():
    rng, beyond = np.random.default_rng(0), 0
    for _ in range(100):
        (views,) = two_encoders(rng, 240, 8, (0.4,))
        found = gap(*(adjusted_halves(part, resamples=40) for part in (views[:, :120], views[:, 120:])))
        beyond += not found.low <= 0 <= found.high
    assert beyond <= 5 + 3 * (100 * 0.05 * 0.95) ** 0.5


def test_halves_of_a_mean_vary_as_the_mean_of_fresh_images_does():
    x = np.random.default_rng(0).normal(size=400)
    found = over_halves(float(x.mean()), lambda rows: float(x[rows].mean()), 400, resamples=2000)
    assert np.mean(found.deviations) == pytest.approx(0, abs=1e-12)
    assert np.std(found.deviations) == pytest.approx(x.std(ddof=1) / 20, rel=0.05)
    few = over_halves(0.0, lambda rows: float(x[rows].mean()), 400, resamples=2000, kept=40)
    assert np.std(few.deviations) == pytest.approx(x.std(ddof=1) / 20, rel=0.05)


def test_the_mean_over_seeds_is_that_of_each_half():
    assert mean_of([Halves(1.0, (-1.0, 1.0)), Halves(3.0, (-3.0, 3.0))]) == Halves(2.0, (-2.0, 2.0))


@pytest.mark.parametrize(
    ("first", "second", "level"),
    [((0.0,), (0.0,), 0.95), ((0.0, 0.0), (0.0,) * 3, 0.95), ((0.0, 0.0), (0.0, 0.0), 1.0)],
)
def test_what_cannot_be_compared_is_refused(first, second, level):
    with pytest.raises(ValueError, match="needs"):
        difference(Halves(1.0, first), Halves(2.0, second), level)
