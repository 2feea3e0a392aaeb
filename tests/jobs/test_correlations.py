"""The table of correlations: what is compared, and names that would break it."""

from mlflow.entities import LoggedModel

from sslmlflow.jobs.correlations import as_markdown, correlations
from sslmlflow.jobs.course import Course
from sslmlflow.measures import CRR_ADJUSTED, ENTROPY, PROBE
from sslmlflow.tracking.values import Way


def course(name: str) -> Course:
    """Three milestones; the entropy was measured on another data set than the probe."""
    epochs = (0, 10, 20)
    models = [LoggedModel("0", f"m-{e}", f"epoch {e}", "", 0, 0, params={"epoch": str(e)}) for e in epochs]
    values = dict(zip(epochs, (0.1, 0.2, 0.4), strict=True))
    ways = {CRR_ADJUSTED: Way(values=values), ENTROPY: Way("stl10", "a", values), PROBE: Way("cifar10", "b", values)}
    return Course("run1", name, "cifar10", models, ways)


def test_only_what_was_measured_on_one_data_set_is_compared() -> None:
    assert {cell.metric for cell in correlations([course("simclr")], PROBE)} == {CRR_ADJUSTED}


def test_a_bar_in_the_name_of_a_run_does_not_make_a_column() -> None:
    lines = as_markdown(correlations([course("a | b")], PROBE)).splitlines()
    assert {line.replace(r"\|", "").count("|") for line in lines} == {4}
