"""One metric that fails does not take the others with it."""

import numpy as np
import torch

from sslmlflow.metrics.results import Results


def test_what_a_metric_fails_of_is_kept_beside_the_values_of_the_others() -> None:
    results = Results()
    results.add("label_free/entropy", lambda: 1.5)
    results.add("label_free/silhouette", lambda: float(torch.linalg.cholesky(-torch.eye(2))[0, 0]))
    results.add("label_free/rankme", lambda: float(np.empty(1 << 50)[0]))
    results.add("labelled/knn", lambda: 0.5)
    assert results.values == {"label_free/entropy": 1.5, "labelled/knn": 0.5}
    assert results.undefined["label_free/silhouette"].startswith("_LinAlgError: linalg.cholesky: ")
    assert "allocate" in results.undefined["label_free/rankme"]
    assert set(results.logged()) - set(results.values) == {
        f"time/{name}_s" for name in ("entropy", "silhouette", "rankme", "knn")
    }


def test_several_values_of_one_computation_and_those_that_are_not_finite() -> None:
    results = Results()
    results.add(("a", "b", "c"), lambda: (1.0, float("nan"), float("inf")), {"b": "needs two views"})
    assert results.values == {"a": 1.0}
    assert results.undefined == {"b": "needs two views", "c": "the value is inf, not a finite number"}
    whole = Results()
    whole.update(results, "early/")
    assert (whole.values, set(whole.undefined), set(whole.seconds)) == (
        {"early/a": 1.0},
        {"early/b", "early/c"},
        {"early/a"},
    )
