"""Entry point `score`: measure embeddings that some other program made, as far as what is given allows."""

import os
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from mlflow.entities import Metric

from sslmlflow.config.score import Score
from sslmlflow.errors import ConfigError
from sslmlflow.jobs.score_files import read_classes, read_views
from sslmlflow.jobs.score_steps import Values, measure
from sslmlflow.measures import MEASURES, SPREAD
from sslmlflow.metrics.unlabelled.alarms import PARTIAL, partly_collapsed
from sslmlflow.tracking.run import TrackedRun, tracked_run
from sslmlflow.tracking.server import whereabouts
from sslmlflow.tuning.checks import MOST_SPREAD

NAMES = {  # of what has a name only here
    "label_free/collapsed": "collapsed (1: yes)",
    "label_free/crr_R": "rate R of all views",
    SPREAD: "spread U, R of R_max",
    "label_free/crr_A": "alignment A",
    "label_free/crr_adjusted_resolution": "adjusted CRR, resolution",
    "label_free/crr_adjusted_low": "adjusted CRR, 95 % from",
    "label_free/crr_adjusted_high": "adjusted CRR, 95 % to",
    "labelled/crr": "supervised CRR",
    "labelled/ami_max_clusters_truth": "AMI max(C1, classes)",
    "labelled/nmi_clusters_truth": "NMI(C1, classes)",
    "labelled/ari_clusters_truth": "ARI(C1, classes)",
    "labelled/acc_clusters_truth": "accuracy of C1",
    "labelled/knn_200_cosine": "200-NN by cosine",
}


def run(config: Score) -> None:
    """Measure from the command line or `mlflow run`."""
    if config.embeddings is None:
        raise ConfigError("embeddings needs to be given. Allowed: a NumPy file: sslmlflow score embeddings.npy")
    views = read_views(config.embeddings, config.views)
    classes = None if config.labels is None else read_classes(config.labels, views.shape[1])
    given = f"{views.shape[1]:,} images x {views.shape[2]:,} features, {len(views)} view{'s' * (len(views) > 1)}"
    if classes is not None:
        given += f", {classes.max() + 1:,} classes"
    logged = config.log or "MLFLOW_RUN_ID" in os.environ
    with tracked_run("score", config, f"score {Path(config.embeddings).name}") if logged else nullcontext() as tracked:
        print(given, flush=True)
        values, undefined = measure(views, classes, config)
        parts = [_table(values), _reasons(undefined), *_remarks(values, len(views), classes is not None)]
        told = "\n\n".join(filter(None, parts))
        print(f"\n{told}")
        if tracked:
            _log(tracked, values, f"{given}\n\n{told}\n")


def _log(tracked: TrackedRun, values: Values, told: str) -> None:
    now = int(time.time() * 1000)
    tracked.client.log_batch(tracked.run_id, metrics=[Metric(key, value, now, 0) for key, value in values.items()])
    tracked.client.log_text(tracked.run_id, told, "score.txt")
    tracked.describe(f"```\n{told}```")
    print(f"run {tracked.run_id} in {whereabouts(tracked.client)}")


def _table(values: Values) -> str:
    """Name, value, what is better, and key of every metric."""
    rows = [(_name(key), _told(key, value), _better(key), key) for key, value in values.items()]
    widths = [max((len(row[place]) for row in rows), default=0) for place in range(4)]
    return "\n".join(
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {better:<{widths[2]}}  {key}" for name, value, better, key in rows
    )


def _reasons(undefined: Mapping[str, str]) -> str:
    """What has no value and why, a line a reason."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for key, why in undefined.items():
        reasons[why].append(_name(key))
    return "\n".join(f"undefined ({why}): {', '.join(names)}" for why, names in reasons.items())


def _remarks(values: Values, views: int, labelled: bool) -> list[str]:
    """What to think of the values, and where more is said."""
    lost, near = (values.get(f"label_free/{name}", 0.0) for name in PARTIAL)
    found = [f"Suspicious: {alarm}." for alarm in partly_collapsed(lost, near)]
    if (spread := values.get(SPREAD, 0.0)) > MOST_SPREAD:
        found.append(
            f"Suspicious: the embeddings take {100 * spread:.0f} % of the room that there is, and so do noise and "
            "whitening. Coding rates, ranks and retrieval say little then."
        )
    if labelled:
        found.append(
            "The probe and the neighbours learn from one random half of the images and are tested on the other."
        )
    if views == 1:
        found.append("Give --views for coding rate reduction, alignment, LiDAR and retrieval.")
    return [*found, "Compare along one training, or like encoders; docs/metrics.md says what misleads."]


def _name(key: str) -> str:
    if key in MEASURES:
        return MEASURES[key].name
    return NAMES.get(key, key.partition("/")[2].replace("_", " "))


def _told(key: str, value: float) -> str:
    return MEASURES[key].told(value) if key in MEASURES else f"{value:.3f}"


def _better(key: str) -> str:
    if key.startswith("labelled/"):
        return "higher"
    if key == "label_free/alpha_req":  # as a criterion the lower is taken; its paper says otherwise
        return "near 1"
    measure = MEASURES.get(key)
    if not measure or not (measure.criterion or measure.lower_is_better):
        return ""
    return "lower" if measure.lower_is_better else "higher"
