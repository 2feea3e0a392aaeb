"""Correlations across models: which are compared with which, against SciPy."""

import csv
from dataclasses import replace

import pytest
from scipy import stats

from sslmlflow.metrics.catalogue import (
    AGREEMENT,
    CRR,
    CRR_ADJUSTED,
    ENTROPY,
    PROBE,
    ROBUST_ENTROPY,
    SILHOUETTE,
    STANDARDISED,
)
from sslmlflow.reporting.across_models import OVERALL, transfer, transfer_csv, transfer_table
from sslmlflow.reporting.history import History
from tests.reporting.histories import made_history

MODELS = {
    "resnet18": (4.0, 0.80),
    "resnet50": (3.0, 0.85),
    "densenet121": (2.5, 0.70),
    "resnet152": (3.5, 0.90),
    "densenet201": (2.0, 0.75),
    "resnet34": (None, 0.82),
}


@pytest.fixture
def histories() -> list[History]:
    return [
        replace(made_history({ENTROPY: [entropy], PROBE: [accuracy]}), name=name)
        for name, (entropy, accuracy) in MODELS.items()
    ]


def test_models_are_compared_within_architectures_of_three_and_over_all(histories: list[History]) -> None:
    pairs = transfer(histories, PROBE)
    assert list(pairs) == [(ENTROPY, "resnet"), (ENTROPY, OVERALL)], "of DenseNets there are two"
    found = {group: compared.correlation for (_, group), compared in pairs.items()}
    resnets = stats.pearsonr([4.0, 3.0, 3.5], [0.80, 0.85, 0.90])
    assert found["resnet"][:3] == pytest.approx((resnets.statistic, resnets.pvalue, 3))
    known = [pair for pair in MODELS.values() if pair[0] is not None]
    overall = stats.pearsonr(*zip(*known, strict=True))
    assert found[OVERALL][:3] == pytest.approx((overall.statistic, overall.pvalue, 5))


def test_the_table_says_how_many_models_there_are(histories: list[History]) -> None:
    found = transfer(histories, PROBE)
    table = transfer_table(found, PROBE).splitlines()
    assert table[0] == "| Pearson's r with the linear probe | resnet, n = 3 | all models, n = 5 |"
    entropy = next(line for line in table if line.startswith("| entropy H(Z3)"))
    told = [f"{found[ENTROPY, group].correlation.r:.2f}" for group in ("resnet", OVERALL)]
    assert entropy == f"| entropy H(Z3) | {told[0]} | {told[1]} |"
    assert not any(line.startswith("| U |") for line in table), "nobody measured it"


def test_what_choosing_a_model_loses_stands_beside_a_random_one(histories: list[History]) -> None:
    table = transfer_table(transfer(histories, PROBE), PROBE).splitlines()
    lost = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in table if "|" in line
    }
    # Of the ResNets the lowest entropy, 3.0, has 85 %, the best 90 %, and their mean is 84.25 %.
    assert lost["lowest entropy H(Z3)"][0] == "5.0"
    assert float(lost["a random model, on average (baseline)"][0]) == pytest.approx(5.75, abs=0.06)


def test_a_star_is_for_what_is_significant_among_all_of_the_table() -> None:
    """By itself the one metric has p = 0.04; beside five that go with nothing it has no star."""
    rising, flat = [1.0, 4.0, 2.0, 3.0, 5.0, 6.0], [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]
    keys = (ENTROPY, SILHOUETTE, AGREEMENT, ROBUST_ENTROPY, CRR_ADJUSTED)
    models = [
        replace(made_history({**{key: [low] for key in keys}, CRR: [high], PROBE: [place / 10]}), name=f"vgg{place}")
        for place, (high, low) in enumerate(zip(rising, flat, strict=True))
    ]
    found = transfer(models, PROBE)
    of_one = {place: compared for place, compared in found.items() if place[0] == CRR}
    assert "| pair CRR | 0.83* | 0.83* |" in transfer_table(of_one, PROBE)
    assert "| pair CRR | 0.83 | 0.83 |" in transfer_table(found, PROBE)


def test_an_architecture_without_any_accuracy_has_empty_cells(histories: list[History]) -> None:
    unmeasured = [
        replace(made_history({ENTROPY: [entropy], PROBE: [None]}), name=f"vgg1{entropy:.0f}")
        for entropy in (1.0, 3.0, 6.0)
    ]
    found = transfer([*histories, *unmeasured], PROBE)
    (row,) = (row for row in csv.DictReader(transfer_csv(found, PROBE).splitlines()) if row["models"] == "vgg")
    assert [row[name] for name in ("r", "p", "low", "n", "regret", "probe_min")] == ["", "", "", "0", "", ""]
    assert "at least 3 pairs" in row["undefined"]
    assert "| resnet, n = 3 | vgg, n = 0 | all models, n = 5 |" in transfer_table(found, PROBE)


def test_without_accuracies_there_is_no_table(histories: list[History]) -> None:
    assert transfer(histories, STANDARDISED) == {}


def test_the_file_has_every_coefficient_and_what_choosing_a_model_by_it_loses(histories: list[History]) -> None:
    found = transfer(histories, PROBE)
    rows = list(csv.DictReader(transfer_csv(found, PROBE).splitlines()))
    overall = next(row for row in rows if row["models"] == OVERALL)
    known = list(zip(*(pair for pair in MODELS.values() if pair[0] is not None), strict=True))
    for names, reference in (
        (("r", "p"), stats.pearsonr),
        (("rho", "rho_p"), stats.spearmanr),
        (("tau", "tau_p"), stats.kendalltau),
    ):
        expected = reference(*known)
        assert [float(overall[name]) for name in names] == pytest.approx([expected.statistic, expected.pvalue])
    assert float(overall["low"]) <= float(overall["r"]) <= float(overall["high"])
    corrected = stats.false_discovery_control([float(row["p"]) for row in rows])
    assert [float(row["p_corrected"]) for row in rows] == pytest.approx(corrected)
    assert float(overall["regret"]) == pytest.approx(0.90 - 0.75), "of entropies the lowest is chosen"
