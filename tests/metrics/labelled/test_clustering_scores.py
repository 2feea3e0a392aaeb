"""Scores of clusters against classes: vectors, and leftover clusters."""

import json
from pathlib import Path

import numpy as np
import pytest

from sslmlflow.metrics.labelled.clustering_scores import clustering_scores

CASES = json.loads((Path(__file__).parents[2] / "vectors/clustering_scores.json").read_text())["cases"]
NAMES = {
    "nmi": "NMI_arithmetic", "ari": "ARI", "ami": "AMI_arithmetic", "ami_max": "AMI_max", "acc": "ACC_hungarian",
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_vectors(case):
    found = clustering_scores(case["y"], case["pred"])._asdict()
    assert found == pytest.approx({ours: case[name] for ours, name in NAMES.items()}, rel=1e-9, abs=1e-9)


def test_clusters_that_no_class_is_left_for_count_as_wrong():
    assert clustering_scores([0, 0, 0, 1, 1, 1], [0, 0, 1, 2, 2, 3]).acc == pytest.approx(4 / 6)
    assert clustering_scores([0, 1, 2, 3], [0, 0, 0, 0]).acc == pytest.approx(1 / 4)


@pytest.mark.parametrize(("classes", "clusters"), [([], []), ([0, 1], [0]), ([0.5, 1.0], [0, 1]), ([-1, 0], [0, 1])])
def test_bad_input_is_refused(classes, clusters):
    with pytest.raises(ValueError, match=r"a row|per row|negative"):
        clustering_scores(np.array(classes), np.array(clusters))
