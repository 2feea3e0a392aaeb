"""The choice without labels and the table that tells of it."""

from sslmlflow.jobs.report import CRITERION, RESOLUTION, Row, _table, _verdict, choose

STANDARDISED = "labelled/linear_probe_standardised"
ROWS = [
    Row(0, {CRITERION: 1.0, RESOLUTION: 0.1, STANDARDISED: 0.30}),
    Row(5, {CRITERION: 3.0, RESOLUTION: 0.1, STANDARDISED: 0.50}),
    Row(10, {CRITERION: 2.95, RESOLUTION: 0.1, STANDARDISED: 0.58}),
]


def test_the_highest_criterion_is_chosen_whatever_the_labels_say() -> None:
    assert choose(ROWS) is ROWS[1]
    without = [Row(row.epoch, {CRITERION: row.values[CRITERION]}) for row in ROWS]
    assert choose(without) is without[1]


def test_undefined_milestones_are_never_chosen() -> None:
    assert choose([Row(0, {}), *ROWS]) is ROWS[1]
    assert choose([Row(0, {STANDARDISED: 0.9})]) is None
    assert "undefined" in _verdict([Row(0, {})], None)


def test_the_verdict_says_what_the_choice_lost_and_what_lies_close() -> None:
    verdict = _verdict(ROWS, ROWS[1])
    assert "epoch 5," in verdict
    assert "resolution of 0.100 lie also: epoch 10" in verdict
    assert "best is epoch 10: the choice lost 8.0 points" in verdict


def test_without_labels_nothing_is_said_of_points() -> None:
    rows = [Row(0, {CRITERION: 1.0}), Row(1, {CRITERION: 2.0})]
    assert "points" not in _verdict(rows, rows[1])


def test_the_table_has_a_line_for_each_milestone() -> None:
    lines = _table(ROWS, [CRITERION, STANDARDISED], ROWS[1], plain=True).splitlines()
    assert [line.split()[0] for line in lines] == ["epoch", "0", "5", "10"]
    assert lines[2].split() == ["5", "*", "3.000", "50.0", "%"]
    assert "| 10 | 2.950 | 58.0 % |" in _table(ROWS, [CRITERION, STANDARDISED], ROWS[1], plain=False)
