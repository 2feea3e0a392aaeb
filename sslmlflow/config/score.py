"""Parameters of the entry point `score`."""

from dataclasses import dataclass

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.config.monitor import MonitorOptions
from sslmlflow.config.options import AUTO, NONE, again, option, spelled

AUTO_WAS_NONE = spelled({AUTO: NONE})


@dataclass(frozen=True)
class Score:
    """Measure embeddings of any origin: sslmlflow score embeddings.npy [--views=other.npy] [--labels=classes.npy]."""

    embeddings: str | None = option(
        None,
        "NumPy file (.npy) of embeddings (images, features); needs to be given, with or without its name",
        null=NONE,
        positional=True,
        earlier=AUTO_WAS_NONE,
    )
    views: str | None = option(
        None,
        "NumPy file of the same images' embeddings under another augmentation, or of (views, images, features)",
        null=NONE,
        earlier=AUTO_WAS_NONE,
    )
    labels: str | None = option(
        None, "NumPy file of one class per image, -1 or NaN where unknown", null=NONE, earlier=AUTO_WAS_NONE
    )
    eps: float = again(MonitorOptions, "eps")
    clusters: int = again(EvaluationOptions, "clusters")
    entropy_width: float = again(EvaluationOptions, "entropy_width")
    max_rows: int = option(
        20000, "most images among which all are compared with all; of more a random sample is taken", minimum=4
    )
    evaluation_seed: int = again(
        EvaluationOptions, "evaluation_seed", help="seed of UMAP, k-means, the split of the probes and the sample"
    )
    log: bool = option(False, "keep the values in a run of MLflow, too; under `mlflow run` they always are")
