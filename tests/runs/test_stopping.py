"""When a training has passed its peak, and when it memorises."""

from pathlib import Path

import pytest

from sslmlflow.config.training import MEMORISATION, TrainingOptions
from sslmlflow.errors import ConfigError
from sslmlflow.metrics.catalogue import CRR_ADJUSTED, GAP_CRR, GAP_RETRIEVAL, HELD_OUT_LOSS, SEEN_CRR, SEEN_RETRIEVAL
from sslmlflow.runs.retention import check_keep
from sslmlflow.runs.stopping import stop_metric, stopped
from sslmlflow.tracking.spool import Spool
from sslmlflow.training.early_stopping import memorised_after, passed_peak


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


def test_of_a_loss_the_peak_is_the_lowest() -> None:
    values = {0: 3.0, 5: 1.0, 10: 1.0, 15: 2.0}
    assert passed_peak([0, 5, 10, 15], values, 2, lower_is_better=True) == 5
    assert passed_peak([0, 5, 10, 15], values, 3, lower_is_better=True) is None


@pytest.mark.parametrize(
    ("alarmed", "patience", "last_sound"),
    [
        ({10, 15}, 2, 5),
        ({10, 15}, 3, None),
        ({5, 15}, 2, None),  # not in a row
        ({5, 15}, 1, 10),
        ({0, 5, 10, 15}, 3, None),  # from the first: the images differ by themselves
        (set(), 1, None),
    ],
)
def test_a_training_memorises_after_so_many_alarms_in_a_row(
    alarmed: set[int], patience: int, last_sound: int | None
) -> None:
    assert memorised_after([0, 5, 10, 15], alarmed, patience) == last_sound
    assert memorised_after([], alarmed, patience) is None


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """A training whose loss is lowest at epoch 10, and which memorises from epoch 15 on."""
    spool = Spool(tmp_path / "spool.db")
    for epoch, loss, gap in ((0, 3.0, 0.0), (5, 2.0, 0.1), (10, 1.5, 0.4), (15, 1.6, 1.5), (20, 1.7, 2.5)):
        interval = {f"{GAP_CRR}_low": gap - 0.5, f"{GAP_CRR}_high": gap + 0.5}
        seen = {SEEN_CRR: 4.0 + gap, SEEN_RETRIEVAL: 0.3 + gap / 10, f"{CRR_ADJUSTED}_resolution": 0.2}
        values = {HELD_OUT_LOSS: loss, CRR_ADJUSTED: 4.0, GAP_CRR: gap, GAP_RETRIEVAL: gap / 10}
        spool.add_milestone(epoch, tmp_path, {**values, **interval, **seen})
    return spool


@pytest.mark.parametrize(
    ("stop_on", "patience", "peak", "words"),
    [
        (MEMORISATION, 2, 10, "every milestone after epoch 10 is better on training images than on as many held-out"),
        (MEMORISATION, 3, None, ""),
        (HELD_OUT_LOSS, 2, 10, "lowest held-out loss at epoch 10"),
        (HELD_OUT_LOSS, 3, None, ""),
        (CRR_ADJUSTED, 4, 0, "highest adjusted CRR at epoch 0"),
        ("none", 1, None, ""),
    ],
)
def test_a_training_stops_by_what_its_milestones_show(
    spool: Spool, stop_on: str, patience: int, peak: int | None, words: str
) -> None:
    found = stopped(TrainingOptions(stop_on=stop_on, patience=patience), spool)
    assert (found.peak if found else None) == peak
    assert words in (found.words if found else "")
    spool.close()


@pytest.mark.parametrize(
    ("stop_on", "told"),
    [
        (MEMORISATION, ["gap to training images 1.50 (95 % interval 1.00 to 2.00)"]),
        (HELD_OUT_LOSS, ["held-out loss 1.600"]),
        (CRR_ADJUSTED, []),
        ("none", []),
    ],
)
def test_a_milestone_is_told_with_what_stopping_looks_at(spool: Spool, stop_on: str, told: list[str]) -> None:
    assert stop_metric(TrainingOptions(stop_on=stop_on), spool.metrics_of_milestone(15)) == told
    assert stop_metric(TrainingOptions(stop_on=stop_on), {}) == []
    spool.close()


def test_what_may_delete_the_milestone_at_the_peak_is_refused() -> None:
    for allowed in (
        TrainingOptions(keep=2),
        TrainingOptions(keep=1, stop_on=CRR_ADJUSTED),
        TrainingOptions(stop_on=MEMORISATION),
    ):
        check_keep(allowed)
    with pytest.raises(ConfigError, match=r"invalid value for keep: 1 \(must be all with stop_on=memorisation"):
        check_keep(TrainingOptions(keep=1, stop_on=MEMORISATION))
