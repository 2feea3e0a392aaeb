"""Every metric, one row each: key in MLflow, name, function, what it takes, what is better; none is imported here."""

from dataclasses import dataclass
from typing import Any

AMI_TRUTH, SILHOUETTE_TRUTH = "labelled/ami_clusters_truth", "labelled/silhouette_truth"
AGREEMENT, SILHOUETTE = "label_free/cluster_agreement", "label_free/silhouette"
ENTROPY, ROBUST_ENTROPY = "label_free/entropy", "label_free/entropy_robust"
CRR_PER_DIMENSION, SPREAD, ALIGNMENT = "label_free/crr_adjusted_per_dimension", "label_free/crr_U", "label_free/crr_A"
CRR_ADJUSTED, CRR, EARLY_CRR = "label_free/crr_adjusted", "label_free/crr", "early/crr"
PROBE, STANDARDISED, KNN = "labelled/linear_probe", "labelled/linear_probe_standardised", "labelled/knn"
LIDAR, SUPERVISED_CRR, KNN_200 = "label_free/lidar", "labelled/crr", "labelled/knn_200_cosine"
HELD_OUT_LOSS, INFONCE, RETRIEVAL = "label_free/held_out_loss", "label_free/infonce", "label_free/retrieval"
GAP_CRR, GAP_RETRIEVAL = "label_free/gap_crr_adjusted", "label_free/gap_retrieval"
SEEN_CRR, SEEN_RETRIEVAL = "label_free/train_crr_adjusted", "label_free/train_retrieval"
GAP_LOSS, OUTLIERS = "label_free/gap_held_out_loss", "label_free/map_outliers"
DIMENSION, LEARNABILITY = "label_free/intrinsic_dimension", "label_free/cluster_learnability"
EARLY_STANDARDISED = "early/linear_probe_standardised"
SGD_PROBE, SGD_TOP5 = "labelled/linear_probe_sgd", "labelled/linear_probe_sgd_top5"

LEAST_IMAGES = 200  # held out; with fewer the choice of a milestone rests on too little to register it


LIDAR_VIEWS = 10  # of each image; the paper takes 50
RATES = "sslmlflow.metrics.unlabelled.coding_rate."
HYPERSPHERE = "sslmlflow.metrics.unlabelled.hypersphere."
SPECTRUM = "sslmlflow.metrics.unlabelled.spectrum."
COLLAPSE = "sslmlflow.metrics.unlabelled.collapse."
LABELLED = "sslmlflow.metrics.labelled."
PAIRS, ADJUSTED = f"{RATES}coding_rate_reduction_pairs", f"{RATES}adjusted_mean_and_resolution"
SCORES = f"{LABELLED}clustering_scores.clustering_scores"


@dataclass(frozen=True)
class Metric:
    """A metric of a milestone.

    Args:
        key: In MLflow, of the last layer; that of the early layer begins with `early/`.
        name: In tables.
        function: Its dotted path; rows of one function are computed once, and each is a `part` of what it returns.
        takes: What the function takes of a layer, in order: `views` (v, n, d) and `view`, the first of them, both raw;
            `unit_views` and `unit_view`, of length 1; `eps`. Empty for what takes more than one layer's embeddings.
        views: Of each image, that are embedded for it.
        needs_views: Whether it has no value for a single view.
        all_with_all: Whether it compares all images with all, and takes time n^2.
        early: Whether it is measured of the early layer, too.
        tabled: Whether it is a column of tables and has a best value.
        criterion: Whether a milestone can be chosen by it; such are label-free.
        live: Whether it is measured at once, while the encoder trains; the others are by `evaluate`.
        accuracy: Whether it is a share of correct answers, printed in per cent.
        lower_is_better, directed: Of what is not directed neither high nor low is better, and nothing is chosen by it.
        not_finite: Why it may have no finite value.
    """

    key: str
    name: str
    function: str = ""
    takes: tuple[str, ...] = ()
    part: str = ""
    views: int = 2
    needs_views: bool = False
    all_with_all: bool = False
    early: bool = False
    tabled: bool = True
    criterion: bool = False
    live: bool = False
    accuracy: bool = False
    lower_is_better: bool = False
    directed: bool = True
    not_finite: str = ""

    @property
    def best(self) -> str:
        """What a milestone is chosen for, in words."""
        return f"{'lowest' if self.lower_is_better else 'highest'} {self.name}"

    @property
    def short_name(self) -> str:
        """The name without what it is of: `crr` for `label_free/crr`."""
        return self.key.partition("/")[2]

    def formatted(self, value: float) -> str:
        """A value as tables write it."""
        return f"{100 * value:.1f} %" if self.accuracy else f"{value:.3f}"


_RATE: dict[str, Any] = {"takes": ("unit_views", "eps"), "early": True, "live": True}
_OF_VIEW: dict[str, Any] = {"takes": ("view",), "live": True}
_ALONE: dict[str, Any] = {"tabled": False, "directed": False}

_IN_ORDER = (  # of Table I of the monitoring paper, then ours
    Metric(AMI_TRUTH, "AMI(C1, classes)", "sslmlflow.metrics.partition.agreement"),
    Metric(AGREEMENT, "AMI(C1, C2)", "sslmlflow.metrics.partition.agreement", criterion=True),
    Metric(SILHOUETTE_TRUTH, "silhouette of classes", "sslmlflow.metrics.partition.silhouettes"),
    Metric(SILHOUETTE, "silhouette of C1", "sslmlflow.metrics.partition.silhouettes", criterion=True),
    Metric(ENTROPY, "entropy H(Z3)", "sslmlflow.metrics.unlabelled.entropy.histogram_entropy", lower_is_better=True),
    Metric(
        ROBUST_ENTROPY, "robust entropy", "sslmlflow.metrics.unlabelled.entropy.histogram_entropy", lower_is_better=True
    ),
    Metric(CRR_ADJUSTED, "adjusted CRR", ADJUSTED, part="mean", needs_views=True, criterion=True, **_RATE),
    Metric(
        f"{CRR_ADJUSTED}_resolution",
        "adjusted CRR, resolution",
        ADJUSTED,
        part="resolution",
        needs_views=True,
        **_RATE,
        **_ALONE,
    ),
    Metric(
        "label_free/crr_pooled",
        "pooled CRR",
        f"{RATES}coding_rate_reduction_pooled",
        part="dR",
        needs_views=True,
        criterion=True,
        **_RATE,
    ),
    Metric(CRR, "pair CRR", PAIRS, part="dR", needs_views=True, criterion=True, **_RATE),
    Metric("label_free/crr_R", "rate R of all views", PAIRS, part="R", **_RATE, **_ALONE),
    Metric(
        SPREAD,
        "spread U, R of R_max",
        PAIRS,
        part="U",
        not_finite="an embedding is zero and so has no direction",
        **_RATE,
        **_ALONE,
    ),
    Metric(
        ALIGNMENT,
        "alignment A",
        PAIRS,
        part="A",
        needs_views=True,
        not_finite="needs two views, two features and no embedding of zero",
        **_RATE,
        **_ALONE,
    ),
    Metric("label_free/rankme", "RankMe", f"{SPECTRUM}rankme", criterion=True, early=True, **_OF_VIEW),
    Metric("label_free/stable_rank", "stable rank", f"{SPECTRUM}stable_rank", criterion=True, **_OF_VIEW),
    Metric("label_free/alpha_req", "alpha-ReQ", f"{SPECTRUM}alpha_req", lower_is_better=True, **_OF_VIEW),
    Metric(
        LIDAR,
        "LiDAR",
        "sslmlflow.metrics.unlabelled.lidar.lidar",
        ("views",),
        views=LIDAR_VIEWS,
        needs_views=True,
        criterion=True,
        live=True,
    ),
    Metric(
        "label_free/alignment_loss",
        "alignment loss",
        f"{HYPERSPHERE}alignment_loss",
        ("unit_views",),
        needs_views=True,
        live=True,
        lower_is_better=True,
    ),
    Metric(
        "label_free/uniformity_loss",
        "uniformity loss",
        f"{HYPERSPHERE}uniformity_loss",
        ("unit_view",),
        all_with_all=True,
        live=True,
        lower_is_better=True,
    ),
    Metric(
        RETRIEVAL,
        "retrieval",
        f"{HYPERSPHERE}retrieval_accuracy",
        ("views",),
        needs_views=True,
        all_with_all=True,
        criterion=True,
        live=True,
    ),
    Metric(
        INFONCE,
        "InfoNCE",
        f"{HYPERSPHERE}infonce",
        ("unit_views",),
        needs_views=True,
        all_with_all=True,
        criterion=True,
        live=True,
        lower_is_better=True,
    ),
    Metric("label_free/lost_directions", "lost directions", f"{COLLAPSE}lost_directions", **_OF_VIEW, **_ALONE),
    Metric(
        "label_free/near_duplicates",
        "near duplicates",
        f"{COLLAPSE}near_duplicates",
        all_with_all=True,
        **_OF_VIEW,
        **_ALONE,
    ),
    Metric(
        HELD_OUT_LOSS,
        "held-out loss",
        "sslmlflow.evaluation.fixed_views.batched_loss",
        criterion=True,
        live=True,
        lower_is_better=True,
    ),
    Metric(GAP_CRR, "gap of adjusted CRR", "sslmlflow.evaluation.gaps.gaps", directed=False),
    Metric(GAP_RETRIEVAL, "gap of retrieval", "sslmlflow.evaluation.gaps.gaps", directed=False),
    Metric(GAP_LOSS, "gap of held-out loss", "sslmlflow.evaluation.gaps.gaps", directed=False),
    Metric(DIMENSION, "intrinsic dimension", "sslmlflow.metrics.unlabelled.clid.intrinsic_dimension"),
    Metric(LEARNABILITY, "cluster learnability", "sslmlflow.metrics.unlabelled.clid.cluster_learnability"),
    Metric(PROBE, "linear probe", f"{LABELLED}linear_probe.paper_probe", accuracy=True),
    Metric(STANDARDISED, "standardised probe", f"{LABELLED}linear_probe.standardised_probe", accuracy=True),
    Metric(KNN, "5-NN", f"{LABELLED}knn.knn_accuracy", accuracy=True),
    Metric(SGD_PROBE, "SGD probe", f"{LABELLED}sgd_probe.sgd_probe", accuracy=True),
    Metric(SGD_TOP5, "SGD probe, top-5", f"{LABELLED}sgd_probe.sgd_probe", accuracy=True),
    Metric(
        SUPERVISED_CRR, "supervised CRR", f"{LABELLED}coding_rate.coding_rate_reduction_labels", part="dR", tabled=False
    ),
    Metric("labelled/ami_max_clusters_truth", "AMI max(C1, classes)", SCORES, part="ami_max", tabled=False),
    Metric("labelled/nmi_clusters_truth", "NMI(C1, classes)", SCORES, part="nmi", tabled=False),
    Metric("labelled/ari_clusters_truth", "ARI(C1, classes)", SCORES, part="ari", tabled=False),
    Metric("labelled/acc_clusters_truth", "accuracy of C1", SCORES, part="acc", tabled=False),
    Metric(KNN_200, "200-NN by cosine", f"{LABELLED}knn.weighted_knn_accuracy", tabled=False),
)
CATALOGUE = {metric.key: metric for metric in _IN_ORDER}
OF_LAYER = tuple(metric for metric in _IN_ORDER if metric.takes)
TABLED = tuple(key for key, metric in CATALOGUE.items() if metric.tabled)
ACCURACIES = tuple(key for key, metric in CATALOGUE.items() if metric.accuracy)
CRITERIA = tuple(key for key, metric in CATALOGUE.items() if metric.criterion)
LIVE_CRITERIA = tuple(key for key, metric in CATALOGUE.items() if metric.criterion and metric.live)
LABEL_FREE = tuple(key for key in TABLED if key.startswith("label_free/"))
OBJECTIVES = tuple(key for key in LABEL_FREE if CATALOGUE[key].directed)


def lower_is_better(key: str) -> bool:
    """Whether a milestone or model would be chosen for the lowest value of a metric, of those without a name too."""
    return key in CATALOGUE and CATALOGUE[key].lower_is_better
