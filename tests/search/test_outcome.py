"""The trial that is chosen without labels, and what labels say of it afterwards."""

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial
from scipy import stats

from sslmlflow.metrics.catalogue import CRR, CRR_ADJUSTED, ENTROPY, HELD_OUT_LOSS, STANDARDISED
from sslmlflow.search.accuracies import _accuracies, _objectives
from sslmlflow.search.limits import TuningMetrics
from sslmlflow.search.outcome import Outcome, choose_trial, verdict

NOTHING = TuningMetrics({}, {})
GIVEN = {"alpha": 0.01, "beta": 1.0}


def made(
    seat: int, value: float, excess: float = -1.0, alarms: tuple[str, ...] = (), alpha: float = 0.1
) -> FrozenTrial:
    values = {"alpha": alpha, "beta": 1.0}
    attributes = {
        "seat": seat,
        "values": values,
        "alarms": list(alarms),
        "beyond": [f"a limit by {excess}"] * (excess > 0),
        "runs": [f"run{seat}"],
        "measured": {},
        "deviations": {},
    }
    study = optuna.create_study()
    trial = study.ask()
    for name, attribute in attributes.items():
        trial.set_user_attr(name, attribute)
    trial.set_constraint("limit", excess)
    return study.tell(trial, value)


@pytest.mark.parametrize(
    ("values", "excess", "lower", "chosen"),
    [
        ([1.0, 3.0, 2.0], [-1, -1, -1], False, 1),
        ([1.0, 3.0, 2.0], [-1, -1, -1], True, 0),
        ([1.0, 3.0, 2.0], [-1, 0.1, -1], False, 2),
        ([1.0, 3.0, 2.0], [0.1, -1, 0], True, 2),
        ([2.0, 2.0], [0, 0], False, 0),
        ([2.0, 2.0], [1, 1], False, None),
    ],
)
def test_the_best_within_the_limits_is_chosen(
    values: list[float], excess: list[float], lower: bool, chosen: int | None
) -> None:
    trials = [made(seat, value, beyond) for seat, (value, beyond) in enumerate(zip(values, excess, strict=True))]
    found = choose_trial(trials, lower)
    assert (found.user_attrs["seat"] if found else None) == chosen


def test_the_verdict_says_what_the_choice_is_worth() -> None:
    best = made(1, 3.0, alarms=("noise improves it",))
    outcome = Outcome([made(0, 2.0), best], CRR_ADJUSTED, TuningMetrics({CRR_ADJUSTED: 2.5}, {}), best, GIVEN)
    assert outcome.beats_untuned()
    assert "trial 1 (alpha = 0.1, beta = 1), the highest adjusted CRR within the limits, 3.000" in verdict(outcome)
    assert "Suspicious: noise improves it." in verdict(outcome)
    assert "keep that" not in verdict(outcome)
    worse = Outcome([best], CRR_ADJUSTED, TuningMetrics({CRR_ADJUSTED: 3.0}, {}), best, GIVEN)
    assert not worse.beats_untuned()
    assert "The untuned one is at least as good: keep that." in verdict(worse)


@pytest.mark.parametrize(("key", "better"), [(CRR_ADJUSTED, 0.4), (HELD_OUT_LOSS, -0.4)])
@pytest.mark.parametrize("own", [0.05, 0.5])
def test_the_gain_is_over_the_same_halves_of_the_images(key: str, better: float, own: float) -> None:
    random = np.random.default_rng(0)
    common, of_chosen = random.normal(size=60), own * random.normal(size=60)  # intervals of each would overlap
    chosen = made(1, 3.0)
    chosen.set_user_attr("measured", {key: 3.0})
    chosen.set_user_attr("deviations", {key: (common + of_chosen).tolist()})
    untuned = TuningMetrics({key: 3.0 - better}, {key: common.tolist()})
    outcome = Outcome([chosen], key, untuned, chosen, GIVEN)
    low, high = stats.t(59, loc=0.4, scale=of_chosen.std(ddof=1)).interval(0.95)
    assert outcome.beats_untuned() == (low > 0) == (own < 0.1)
    assert f"better by 0.400 (gain: 95 % interval {low:.3f} to {high:.3f}; another seed" in verdict(outcome)
    assert ("not separated: keep the untuned one." in verdict(outcome)) != outcome.beats_untuned()
    noisy = Outcome([chosen], key, TuningMetrics(untuned.values, untuned.deviations, {key: 0.38}), chosen, GIVEN)
    assert not noisy.beats_untuned(), "another seed may change it by as much"
    assert "Best without labels, and not chosen" in verdict(noisy)
    assert ("no more than another seed may: keep the untuned one." in verdict(noisy)) == (own < 0.1)
    of_four = Outcome([chosen, made(2, 1.0), made(3, 1.0), made(4, 1.0)], key, untuned, chosen, GIVEN)
    low, high = stats.t(59, loc=0.4, scale=of_chosen.std(ddof=1)).interval(1 - 0.05 / 4)
    assert f"95 % interval {low:.3f} to {high:.3f}, for the best of 4" in verdict(of_four)
    worse = Outcome([chosen], key, TuningMetrics({key: 3.0 + better}, untuned.deviations), chosen, GIVEN)
    assert not worse.beats_untuned()
    assert "worse by 0.400" in verdict(worse)
    assert ("separably so: keep the untuned one." in verdict(worse)) == (own < 0.1)


def test_of_an_entropy_the_lower_is_better_and_what_rejects_is_counted() -> None:
    best = made(1, 3.0)
    low = Outcome([best], ENTROPY, TuningMetrics({ENTROPY: 3.5}, {}), best, GIVEN)
    assert low.beats_untuned(), "of entropies the lower is better"
    assert "the lowest entropy" in verdict(low)
    rejected = [made(0, 2.0, excess=1.0), made(1, 2.0)]
    nothing = Outcome(rejected, CRR_ADJUSTED, TuningMetrics({CRR_ADJUSTED: 1.0}, {}), None, GIVEN)
    assert not nothing.beats_untuned()
    assert "None can be chosen" in verdict(nothing)
    assert verdict(nothing).endswith("Rejected: 1 of 2 by the limit.")


def test_accuracies_are_those_of_the_trials_that_are_named() -> None:
    trials = [made(0, 1.0, alpha=0.01), made(1, 3.0), made(2, 2.0)]
    measured = {seat: {STANDARDISED: accuracy} for seat, accuracy in enumerate((0.5, 0.4, 0.6))}
    outcome = Outcome(trials, CRR_ADJUSTED, NOTHING, trials[1], GIVEN)
    table = _accuracies(outcome, measured, {"untuned": {STANDARDISED: 0.55}, "before": {STANDARDISED: 0.45}})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert rows == [
        ["chosen without labels, trial 1", "40.0 %"],
        ["best by labels, trial 2", "60.0 %"],
        ["default, trial 0", "50.0 %"],
        ["untuned", "55.0 %"],
        ["before", "45.0 %"],
    ]
    other = Outcome(trials[1:], CRR_ADJUSTED, NOTHING, None, GIVEN)
    assert "default" not in _accuracies(other, {1: measured[1], 2: measured[2]}, {})
    assert "chosen" not in _accuracies(other, {1: measured[1], 2: measured[2]}, {})


def test_each_objective_is_judged_in_its_own_direction() -> None:
    accuracies = (0.5, 0.6, 0.4, 0.55)
    rising, falling = (1.0, 2.0, 0.5, 1.5), (3.0, 1.0, 4.0, 2.0)
    measured = {
        seat: {STANDARDISED: accuracies[seat], CRR_ADJUSTED: -rising[seat], ENTROPY: falling[seat]} for seat in range(4)
    }
    rows = {line.split("|")[1].strip(): line for line in _objectives(measured).splitlines() if line.startswith("|")}
    adjusted, entropy = (
        [cell.strip() for cell in rows[name].strip("|").split("|")] for name in ("adjusted CRR", "entropy H(Z3)")
    )
    assert adjusted[1:] == ["-1.00", "< 0.001", "20.0"]
    assert entropy[1:] == ["+1.00", "< 0.001", "0.0"]


def test_the_p_of_objectives_is_corrected_for_how_many_are_tried() -> None:
    """Beside one that goes with nothing, the p of the better of two doubles."""
    accuracies, near, other = (0.1, 0.2, 0.3, 0.4, 0.5), (1.0, 2.0, 4.0, 3.0, 5.0), (1.0, 3.0, 1.0, 3.0, 2.0)
    measured = {seat: {STANDARDISED: accuracies[seat], CRR_ADJUSTED: near[seat], CRR: other[seat]} for seat in range(5)}
    p = {}
    for keys in ((CRR_ADJUSTED,), (CRR_ADJUSTED, CRR)):
        kept = {seat: {key: found[key] for key in (STANDARDISED, *keys)} for seat, found in measured.items()}
        (line,) = (line for line in _objectives(kept).splitlines() if line.startswith("| adjusted CRR"))
        p[len(keys)] = float(line.strip("|").split("|")[2])
    assert p[2] == pytest.approx(2 * p[1], abs=0.0015), "both are told to three places"
