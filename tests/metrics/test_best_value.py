import math

import pytest

from sslmlflow.metrics.best_value import Candidate, choose


def milestone(epoch, value, half_width=0.5):
    return Candidate(epoch, value, value - half_width, value + half_width)


def undefined(epoch):
    return Candidate(epoch, None, None, None)


def test_overlapping_neighbours_are_tied():
    result = choose([milestone(0, 1), milestone(20, 4), milestone(40, 6), milestone(60, 5.5), milestone(80, 5.2)])
    assert result.chosen == 40
    assert result.tied == (60, 80)
    assert not result.separated


def test_a_clear_winner_is_separated_from_all():
    result = choose([milestone(0, 1), milestone(20, 9), milestone(40, 4)])
    assert result == (20, (), True)


def test_touching_intervals_are_not_separated():
    assert choose([milestone(0, 1.0), milestone(20, 2.0)]) == (20, (0,), False)


def test_equal_values_give_the_earlier_epoch_in_any_order():
    a, b, c = milestone(20, 5), milestone(40, 5), milestone(0, 1)
    assert choose([b, a, c]) == choose([c, a, b]) == (20, (40,), False)


def test_training_that_only_lost_chooses_the_start():
    result = choose([milestone(0, 5), milestone(20, 1)])
    assert (result.chosen, result.separated) == (0, True)


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_an_undefined_value_is_never_chosen(bad):
    result = choose([milestone(0, 1), Candidate(20, bad, bad, bad), milestone(40, 3)])
    assert result == (40, (), True)


def test_an_undefined_start_is_passed_over():
    assert choose([undefined(0), milestone(20, 1), milestone(40, 8)]) == (40, (), True)


def test_a_value_without_interval_cannot_be_separated():
    assert choose([Candidate(0, 1.0, None, None), milestone(20, 9)]) == (20, (0,), False)
    assert choose([milestone(0, 1), Candidate(20, 9.0, None, None)]) == (20, (0,), False)


def test_a_single_value_is_separated_from_nothing():
    assert choose([milestone(0, 3)]) == (0, (), False)


@pytest.mark.parametrize("candidates", [[], [undefined(0), undefined(20)]])
def test_no_value_no_choice(candidates):
    assert choose(candidates) == (None, (), False)


def test_milestones_that_rise_and_fall_together_are_separated_though_their_intervals_overlap():
    together, against = (-0.4, 0.1, 0.3), (0.3, 0.1, -0.4)
    lower = Candidate(20, 5.0, 4.6, 5.3, together)
    assert choose([lower, Candidate(40, 5.2, 4.8, 5.5, together)]) == (40, (), True)
    assert choose([lower, Candidate(40, 5.2, 4.8, 5.5, against)]) == (40, (20,), False)
    assert choose([lower, Candidate(40, 5.2, 4.8, 5.5, (0.1, 0.2))]) == (40, (20,), False), "of other halves"
    assert choose([lower, Candidate(40, 9.0, 8.8, 9.5, None)]) == (40, (), True), "an earlier release kept none"
