"""Correlations across models: which are compared with which, against SciPy."""

from dataclasses import replace

import pytest
from scipy import stats

from sslmlflow.jobs.course import Course
from sslmlflow.jobs.transfer import OVERALL, transfer, transfer_table
from sslmlflow.measures import ENTROPY, PROBE, STANDARDISED
from tests.jobs.courses import made_course

MODELS = {
    "resnet18": (4.0, 0.80),
    "resnet50": (3.0, 0.85),
    "densenet121": (2.5, 0.70),
    "resnet152": (3.5, 0.90),
    "densenet201": (2.0, 0.75),
    "resnet34": (None, 0.82),
}


@pytest.fixture
def courses() -> list[Course]:
    return [
        replace(made_course({ENTROPY: [entropy], PROBE: [accuracy]}), name=name)
        for name, (entropy, accuracy) in MODELS.items()
    ]


def test_models_are_compared_within_architectures_of_three_and_over_all(courses: list[Course]) -> None:
    found = transfer(courses, PROBE)[ENTROPY]
    assert list(found) == ["resnet", OVERALL], "of DenseNets there are two"
    resnets = stats.pearsonr([4.0, 3.0, 3.5], [0.80, 0.85, 0.90])
    assert found["resnet"][:3] == pytest.approx((resnets.statistic, resnets.pvalue, 3))
    known = [pair for pair in MODELS.values() if pair[0] is not None]
    overall = stats.pearsonr(*zip(*known, strict=True))
    assert found[OVERALL][:3] == pytest.approx((overall.statistic, overall.pvalue, 5))


def test_the_table_says_how_many_models_there_are(courses: list[Course]) -> None:
    found = transfer(courses, PROBE)
    table = transfer_table(found, PROBE).splitlines()
    assert table[0] == "| Pearson's r with the linear probe | resnet, n = 3 | all models, n = 5 |"
    entropy = next(line for line in table if line.startswith("| entropy H(Z3)"))
    assert entropy == f"| entropy H(Z3) | {found[ENTROPY]['resnet'].r:.2f} | {found[ENTROPY][OVERALL].r:.2f} |"
    assert not any(line.startswith("| U |") for line in table), "nobody measured it"


def test_without_accuracies_there_is_no_table(courses: list[Course]) -> None:
    assert transfer(courses, STANDARDISED) == {}
