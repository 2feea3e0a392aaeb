"""Parameters of the entry point `score`."""

from dataclasses import dataclass

from sslmlflow.config.options import option


@dataclass(frozen=True)
class Score:
    """Measure embeddings of any origin: sslmlflow score embeddings.npy [--views=other.npy] [--labels=classes.npy]."""

    embeddings: str | None = option(None, "NumPy file (.npy) of embeddings (images, features); needs to be given")
    views: str | None = option(
        None, "NumPy file of the same images' embeddings under another augmentation, or of (views, images, features)"
    )
    labels: str | None = option(None, "NumPy file of one class per image, -1 or NaN where unknown; auto: none")
    eps: float = option(0.5, "distortion of the coding rate (not squared)", above=0)
    clusters: int = option(10, "clusters of the k-means", minimum=2)
    entropy_width: float = option(
        0.4, "width of the entropy's bins in standard deviations; 0.8 for encoders pretrained with labels", above=0
    )
    max_rows: int = option(
        20000, "most images among which all are compared with all; of more a random sample is taken", minimum=4
    )
    evaluation_seed: int = option(
        0, "seed of UMAP, k-means, the split of the probes and the sample", minimum=0, maximum=10**9
    )
    log: bool = option(False, "keep the values in a run of MLflow, too; under `mlflow run` they always are")
