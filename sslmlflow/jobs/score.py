"""Entry point `score`: measure embeddings of any origin, as far as what is given allows."""

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

from mlflow.entities import Metric
from torch import Tensor

from sslmlflow.config.score import Score
from sslmlflow.errors import ConfigError
from sslmlflow.evaluation.embedding_files import read_views
from sslmlflow.evaluation.embedding_labels import Labels, read_labels
from sslmlflow.evaluation.score import measure
from sslmlflow.metrics.alarms import MOST_SPREAD, partly_collapsed
from sslmlflow.metrics.catalogue import CATALOGUE, SPREAD
from sslmlflow.metrics.results import Results
from sslmlflow.tracking.run import TrackedRun, tracked_run
from sslmlflow.tracking.server import whereabouts

NAMES = {  # of what is no metric of its own
    "label_free/collapsed": "collapsed (1: yes)",
    "label_free/crr_adjusted_low": "adjusted CRR, 95 % from",
    "label_free/crr_adjusted_high": "adjusted CRR, 95 % to",
}


def run(config: Score) -> None:
    """Measure from the command line or `mlflow run`."""
    if config.embeddings is None:
        raise ConfigError("embeddings needs to be given. Allowed: a NumPy file: sslmlflow score embeddings.npy")
    views = read_views(config.embeddings, config.views)
    labels = None if config.labels is None else read_labels(config.labels, views.shape[1])
    given = "\n".join(_given(views, labels, config))
    logged = config.log or "MLFLOW_RUN_ID" in os.environ
    with tracked_run("score", config, f"score {Path(config.embeddings).name}") if logged else nullcontext() as tracked:
        print(given, flush=True)
        found = measure(views, labels, config)
        usable = labels is not None and labels.undefined is None
        parts = [_table(found.values), _notes(found, config), *_remarks(found.values, len(views), usable)]
        told = "\n\n".join(filter(None, parts))
        print(f"\n{told}")
        if tracked:
            _log(tracked, found.values, f"{given}\n\n{told}\n")


def _given(views: Tensor, labels: Labels | None, config: Score) -> Iterator[str]:
    """What was read, and what of it is left out."""
    n = views.shape[1]
    usable = labels is not None and len(labels.known) > 0
    classes = f", {labels.count:,} class{'es' * (labels.count != 1)}" if labels is not None and usable else ""
    yield f"{n:,} images x {views.shape[2]:,} features, {len(views)} view{'s' * (len(views) > 1)}{classes}"
    if labels is not None and not usable:
        yield f"no labels: {labels.undefined}"
    elif labels is not None and len(labels.known) < n:
        yield (
            f"{n - len(labels.known):,} of {n:,} images have no label (-1, NaN, NaT or an empty text) and are left out "
            "of the labelled metrics"
        )
    if n > config.max_rows:
        yield f"{n:,} rows: what compares all with all is measured on a random {config.max_rows:,} (max_rows)"


def _log(tracked: TrackedRun, values: Mapping[str, float], told: str) -> None:
    now = int(time.time() * 1000)
    tracked.client.log_batch(tracked.run_id, metrics=[Metric(key, value, now, 0) for key, value in values.items()])
    tracked.client.log_text(tracked.run_id, told, "score.txt")
    tracked.describe(f"```\n{told}```")
    print(f"run {tracked.run_id} in {whereabouts(tracked.client)}")


def _table(values: Mapping[str, float]) -> str:
    """Name, value, what is better, and key of every metric."""
    rows = [(_name(key), _told(key, value), _better(key), key) for key, value in values.items()]
    widths = [max((len(row[place]) for row in rows), default=0) for place in range(4)]
    return "\n".join(
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {better:<{widths[2]}}  {key}" for name, value, better, key in rows
    )


def _notes(found: Results, config: Score) -> str:
    """What was measured on a sample, and what has no value, one line per reason."""
    notes: dict[str, list[str]] = defaultdict(list)
    for key in found.values:
        if key in found.sampled:
            notes[f"on a random {config.max_rows:,} images (max_rows)"].append(_name(key))
    for key, why in found.undefined.items():
        notes[f"undefined ({why})"].append(_name(key))
    return "\n".join(f"{note}: {', '.join(names)}" for note, names in notes.items())


def _remarks(values: Mapping[str, float], views: int, labelled: bool) -> list[str]:
    """What to think of the values, and where more is said."""
    found = [f"Suspicious: {alarm}." for alarm in partly_collapsed(values)]
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
    if key in CATALOGUE:
        return CATALOGUE[key].name
    return NAMES.get(key, key.partition("/")[2].replace("_", " "))


def _told(key: str, value: float) -> str:
    return CATALOGUE[key].formatted(value) if key in CATALOGUE else f"{value:.3f}"


def _better(key: str) -> str:
    if key.startswith("labelled/"):
        return "higher"
    if key == "label_free/alpha_req":  # as a criterion the lower is taken; its paper says otherwise
        return "near 1"
    metric = CATALOGUE.get(key)
    if not metric or not (metric.criterion or metric.lower_is_better):
        return ""
    return "lower" if metric.lower_is_better else "higher"
