"""A course of a training with made values."""

from collections.abc import Mapping, Sequence

from mlflow.entities import LoggedModel, LoggedModelParameter

from sslmlflow.reporting.history import History
from sslmlflow.tracking.values import Way

TRAINED_ON = "cifar10"


def made_history(columns: Mapping[str, Sequence[float | None]], elsewhere: Sequence[str] = ()) -> History:
    """Milestones at epochs 0, 10, ...; None is undefined. Of the metrics named `elsewhere` the data set is another."""
    epochs = [10 * place for place in range(max(map(len, columns.values())))]
    models = [
        LoggedModel("0", f"m-{epoch}", f"epoch {epoch}", "", 0, 0, params=[LoggedModelParameter("epoch", str(epoch))])
        for epoch in epochs
    ]
    ways = {
        key: Way(
            "stl10" if key in elsewhere else TRAINED_ON,
            values={epoch: value for epoch, value in zip(epochs, column, strict=True) if value is not None},
        )
        for key, column in columns.items()
    }
    return History("run1", "simclr", TRAINED_ON, models, ways)
