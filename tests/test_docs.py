"""What the documentation says can be imported and run."""

import importlib
import re

from tests.conftest import ROOT

METRICS = (ROOT / "docs" / "metrics.md").read_text()


def test_every_function_that_is_named_is_there() -> None:
    rows = re.findall(r"^\| `([a-z_.]+)` \| ((?:`\w+`(?:, )?)+) \|$", METRICS, flags=re.MULTILINE)
    listed = {name for _, names in rows for name in re.findall(r"\w+", names)}
    assert len(rows) == 18
    for module, names in rows:
        for name in re.findall(r"\w+", names):
            assert callable(getattr(importlib.import_module(f"sslmlflow.metrics.{module}"), name))
    sections = METRICS[METRICS.index("## Each metric") : METRICS.index("## As functions")]
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+|rankme|lidar|clid|collapsed|silhouettes|agreement)`", sections))
    assert named - {"label_free", "probe"} <= listed, named - listed


def test_the_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", METRICS, flags=re.DOTALL)
    exec(example, {})
