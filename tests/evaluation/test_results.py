"""One metric that fails does not take the others with it."""

import numpy as np
import torch

from sslmlflow.evaluation.results import Measured


def test_what_a_metric_fails_of_is_kept_beside_the_values_of_the_others() -> None:
    measured = Measured()
    measured.add("label_free/entropy", lambda: 1.5)
    measured.add("label_free/silhouette", lambda: float(torch.linalg.cholesky(-torch.eye(2))[0, 0]))
    measured.add("label_free/rankme", lambda: float(np.empty(1 << 50)[0]))
    measured.add("labelled/knn", lambda: 0.5)
    assert {key: value for key, value in measured.values.items() if "time/" not in key} == {
        "label_free/entropy": 1.5,
        "labelled/knn": 0.5,
    }
    assert measured.undefined["label_free/silhouette"].startswith("_LinAlgError: linalg.cholesky: ")
    assert "allocate" in measured.undefined["label_free/rankme"]
    assert len(measured.told()) == 4
