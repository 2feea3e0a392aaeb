"""What is measured on a milestone and told to people: key in MLflow, name, what is better; each said once."""

from dataclasses import dataclass

AMI_TRUTH, SILHOUETTE_TRUTH = "labelled/ami_clusters_truth", "labelled/silhouette_truth"
AGREEMENT, SILHOUETTE = "label_free/cluster_agreement", "label_free/silhouette"
ENTROPY, ROBUST_ENTROPY = "label_free/entropy", "label_free/entropy_robust"
CRR_PER_DIMENSION, SPREAD, ALIGNMENT = "label_free/crr_adjusted_per_dimension", "label_free/crr_U", "label_free/crr_A"
CRR_ADJUSTED, CRR, EARLY_CRR = "label_free/crr_adjusted", "label_free/crr", "early/crr"
PROBE, STANDARDISED, KNN = "labelled/linear_probe", "labelled/linear_probe_standardised", "labelled/knn"
LIDAR = "label_free/lidar"
HELD_OUT_LOSS, INFONCE, RETRIEVAL = "label_free/held_out_loss", "label_free/infonce", "label_free/retrieval"
GAP_CRR, GAP_RETRIEVAL = "label_free/gap_crr_adjusted", "label_free/gap_retrieval"
SEEN_CRR, SEEN_RETRIEVAL = "label_free/train_crr_adjusted", "label_free/train_retrieval"
GAP_LOSS, OUTLIERS = "label_free/gap_held_out_loss", "label_free/map_outliers"
DIMENSION, LEARNABILITY = "label_free/intrinsic_dimension", "label_free/cluster_learnability"
EARLY_STANDARDISED = "early/linear_probe_standardised"
SGD_PROBE, SGD_TOP5 = "labelled/linear_probe_sgd", "labelled/linear_probe_sgd_top5"

LEAST_IMAGES = 200  # held out; with fewer the choice of a milestone rests on too little to register it


@dataclass(frozen=True)
class Measure:
    """A metric of a milestone; a criterion is a label-free one by which a milestone can be chosen.

    `live` ones are measured at once, while the encoder trains; the others by `evaluate`. Of one that is not `directed`
    neither high nor low is better, and nothing is chosen by it.
    """

    key: str
    name: str
    criterion: bool = False
    live: bool = False
    accuracy: bool = False
    lower_is_better: bool = False
    directed: bool = True

    @property
    def best(self) -> str:
        """What a milestone is chosen for, in words."""
        return f"{'lowest' if self.lower_is_better else 'highest'} {self.name}"

    def formatted(self, value: float) -> str:
        """A value as tables write it."""
        return f"{100 * value:.1f} %" if self.accuracy else f"{value:.3f}"


_IN_ORDER = (  # of Table I of the monitoring paper, then ours
    Measure(AMI_TRUTH, "AMI(C1, classes)"),
    Measure(AGREEMENT, "AMI(C1, C2)", criterion=True),
    Measure(SILHOUETTE_TRUTH, "silhouette of classes"),
    Measure(SILHOUETTE, "silhouette of C1", criterion=True),
    Measure(ENTROPY, "entropy H(Z3)", lower_is_better=True),
    Measure(ROBUST_ENTROPY, "robust entropy", lower_is_better=True),
    Measure(CRR_ADJUSTED, "adjusted CRR", criterion=True, live=True),
    Measure("label_free/crr_pooled", "pooled CRR", criterion=True, live=True),
    Measure(CRR, "pair CRR", criterion=True, live=True),
    Measure("label_free/rankme", "RankMe", criterion=True, live=True),
    Measure("label_free/stable_rank", "stable rank", criterion=True, live=True),
    Measure("label_free/alpha_req", "alpha-ReQ", lower_is_better=True),
    Measure(LIDAR, "LiDAR", criterion=True, live=True),
    Measure("label_free/alignment_loss", "alignment loss", lower_is_better=True),
    Measure("label_free/uniformity_loss", "uniformity loss", lower_is_better=True),
    Measure(RETRIEVAL, "retrieval", criterion=True, live=True),
    Measure(INFONCE, "InfoNCE", criterion=True, live=True, lower_is_better=True),
    Measure(HELD_OUT_LOSS, "held-out loss", criterion=True, live=True, lower_is_better=True),
    Measure(GAP_CRR, "gap of adjusted CRR", directed=False),
    Measure(GAP_RETRIEVAL, "gap of retrieval", directed=False),
    Measure(GAP_LOSS, "gap of held-out loss", directed=False),
    Measure(DIMENSION, "intrinsic dimension"),
    Measure(LEARNABILITY, "cluster learnability"),
    Measure(PROBE, "linear probe", accuracy=True),
    Measure(STANDARDISED, "standardised probe", accuracy=True),
    Measure(KNN, "5-NN", accuracy=True),
    Measure(SGD_PROBE, "SGD probe", accuracy=True),
    Measure(SGD_TOP5, "SGD probe, top-5", accuracy=True),
)
MEASURES = {measure.key: measure for measure in _IN_ORDER}
ACCURACIES = tuple(key for key, measure in MEASURES.items() if measure.accuracy)
CRITERIA = tuple(key for key, measure in MEASURES.items() if measure.criterion)
LIVE_CRITERIA = tuple(key for key, measure in MEASURES.items() if measure.criterion and measure.live)
LABEL_FREE = tuple(key for key in MEASURES if key.startswith("label_free/"))
OBJECTIVES = tuple(key for key in LABEL_FREE if MEASURES[key].directed)


def short_name(key: str) -> str:
    """A label-free metric as the objectives of `tune` name it: `crr_adjusted` for `label_free/crr_adjusted`."""
    return key.removeprefix("label_free/")


def lower_is_better(key: str) -> bool:
    """Whether a milestone or model would be chosen for the lowest value of a metric, of those without a name too."""
    return key in MEASURES and MEASURES[key].lower_is_better
