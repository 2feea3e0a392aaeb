"""The rows of the catalogue: what they name is there, and no label reaches what is label-free."""

import pytest

from sslmlflow.metrics.catalogue import CATALOGUE, LABEL_FREE, OBJECTIVES, OF_LAYER, Metric
from sslmlflow.metrics.unlabelled.layer import EARLY, LAST, function_of


@pytest.mark.parametrize("metric", [metric for metric in CATALOGUE.values() if metric.function], ids=lambda m: m.key)
def test_every_row_names_a_function_that_is_there(metric: Metric) -> None:
    assert callable(function_of(metric.function))


def test_what_is_measured_of_a_layer_is_label_free() -> None:
    """These are found by their path, which no contract on imports sees."""
    for metric in OF_LAYER:
        assert metric.key.startswith("label_free/")
        assert metric.function.startswith("sslmlflow.metrics.unlabelled.")
    assert not any(CATALOGUE[key].accuracy for key in (*LABEL_FREE, *OBJECTIVES))


def test_every_milestone_has_these_of_its_layers() -> None:
    rates = {"crr", "crr_R", "crr_U", "crr_A", "crr_pooled", "crr_adjusted", "crr_adjusted_resolution"}
    assert set(EARLY) == {"collapsed", "rankme", *rates}
    ranks = {"stable_rank", "alpha_req", "lost_directions", "near_duplicates"}
    sphere = {"alignment_loss", "uniformity_loss", "retrieval", "infonce"}
    assert set(LAST) == {*EARLY, *ranks, *sphere}
