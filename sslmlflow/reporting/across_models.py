"""How far metrics go with the linear probe across pretrained models: the paper's Table II and its figures 5 and 6.

Source: Xu, Lowe and Trappenberg, "Label-free Monitoring of Self-Supervised Learning Progress", sections III-D and IV.
"""

import re
from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import Run

from sslmlflow.figures.models import Point, models_figure
from sslmlflow.metrics.catalogue import (
    ACCURACIES,
    AGREEMENT,
    ALIGNMENT,
    AMI_TRUTH,
    CATALOGUE,
    CRR_ADJUSTED,
    CRR_PER_DIMENSION,
    ENTROPY,
    LABEL_FREE,
    PROBE,
    ROBUST_ENTROPY,
    SILHOUETTE,
    SILHOUETTE_TRUTH,
    SPREAD,
    STANDARDISED,
    TABLED,
    lower_is_better,
)
from sslmlflow.metrics.correlation import lost_at_random
from sslmlflow.reporting.comparison import COLUMNS, STAR, Compared, corrected_p, points
from sslmlflow.reporting.history import History
from sslmlflow.reporting.tables import markdown_table
from sslmlflow.texts import as_csv, in_markdown
from sslmlflow.tracking.run import TrackedRun
from sslmlflow.tracking.server import is_there

PAPER = (AMI_TRUTH, AGREEMENT, SILHOUETTE_TRUTH, SILHOUETTE, ENTROPY)
OURS = (ROBUST_ENTROPY, SPREAD, ALIGNMENT, CRR_PER_DIMENSION, CRR_ADJUSTED)
OTHERS = tuple(key for key in LABEL_FREE if key not in (*PAPER, *OURS))
OVERALL = "all models"
SWEPT = "sslmlflow.swept"  # tag of the sweep's run: the run of a model that is done
LEAST = 3  # models of which r can be told


def swept_runs(client: MlflowClient, run_id: str) -> list[Run]:
    """The runs of the models that a sweep has measured, in order."""
    tags = client.get_run(run_id).data.tags
    runs = [run for tag, run in tags.items() if tag.startswith(f"{SWEPT}.")]
    return [client.get_run(run) for run in runs if is_there(client, run)]


def tell_transfer(tracked: TrackedRun, histories: Sequence[History], failed: Mapping[str, str]) -> None:
    """Print tables of the models and of Pearson's r, and keep them and the figure in the sweep's run.

    `failed`: why models could not be measured, by name.
    """
    report = models_table(histories) if histories else "No model could be measured."
    if failed:
        reasons = "\n".join(f"* {name}: {in_markdown(reason)}" for name, reason in failed.items())
        report += f"\n\nNot measured:\n\n{reasons}"
    published = [history for history in histories if _published(history)]
    if left_out := len(histories) - len(published):
        report += f"\n\n{left_out} without published weights, which enter no correlation."
    if 0 < len(published) < LEAST:
        report += f"\n\nCorrelations across models need {LEAST} of them at least."
    for probe in (PROBE, STANDARDISED):
        if len(published) >= LEAST and (found := transfer(published, probe)):
            report += f"\n\n{transfer_table(found, probe)}"
            file = f"transfer_{probe.rpartition('/')[2]}.csv"
            tracked.client.log_text(tracked.run_id, transfer_csv(found, probe), file)
    print(f"\n{report}\n\ntables and figures: artifacts of run {tracked.run_id}")
    tracked.describe(report)
    tracked.client.log_text(tracked.run_id, report + "\n", "sweep.md")
    drawn = {family: _points(of_family) for family, of_family in by_family(published).items()}
    if drawn := {family: found for family, found in drawn.items() if found}:
        names = CATALOGUE[ENTROPY].name, CATALOGUE[PROBE].name
        tracked.log_figure(models_figure(drawn, *names), "figures/entropy.png")


def family(name: str) -> str:
    """The architecture of a model, whatever its size.

    >>> [family(name) for name in ("resnet152", "efficientnet_v2_s", "vit_b_16", "timm/resnet18.a1_in1k")]
    ['resnet', 'efficientnet_v2', 'vit', 'resnet']
    """
    return re.sub(r"^(?:timm/)?([a-z]+(?:_v\d+)?).*$", r"\1", name)


def by_family(histories: Sequence[History]) -> dict[str, list[History]]:
    """The models of each architecture, in order."""
    found: dict[str, list[History]] = {}
    for history in histories:
        found.setdefault(family(history.name), []).append(history)
    return found


def transfer(histories: Sequence[History], probe: str) -> dict[tuple[str, str], Compared]:
    """Each metric with a probe, over the models of each architecture of three or more, and over all."""
    groups = {name: found for name, found in by_family(histories).items() if len(found) >= LEAST}
    groups[OVERALL] = list(histories)
    accuracies = {name: [_value(history, probe) for history in found] for name, found in groups.items()}
    if not any(value is not None for value in accuracies[OVERALL]):
        return {}
    return {
        (key, name): Compared([_value(history, key) for history in found], accuracies[name], lower_is_better(key))
        for key in (*PAPER, *OURS, *OTHERS)
        if any(history.has(key) for history in histories)
        for name, found in groups.items()
    }


def transfer_table(found: Mapping[tuple[str, str], Compared], probe: str) -> str:
    """Metrics in rows, architectures in columns; a star marks corrected p < 0.05. Then what choosing by each loses."""
    told = {place: r.formatted(p) for (place, r), p in zip(found.items(), corrected_p(found.values()), strict=True)}
    keys, groups = (list(dict.fromkeys(names)) for names in zip(*found, strict=True))
    counts = {group: max(found[key, group].correlation.n for key in keys) for group in groups}
    rows = [[f"Pearson's r with the {CATALOGUE[probe].name}", *(f"{group}, n = {counts[group]}" for group in groups)]]
    rows += [[_name(key), *(told[key, group] for group in groups)] for key in keys]
    return f"{markdown_table(rows, words=1)}\n\n\\{STAR}\n\n{_choices(found, probe, keys, groups)}"


def _choices(found: Mapping[tuple[str, str], Compared], probe: str, keys: Sequence[str], groups: Sequence[str]) -> str:
    """The points that choosing a model by each metric loses, and those that a random model does."""
    rows = [[f"points of the {CATALOGUE[probe].name} lost by choosing a model by it", *groups]]
    for key in [key for key in keys if key not in TABLED or CATALOGUE[key].directed]:
        best = "lowest" if lower_is_better(key) else "highest"
        rows.append([f"{best} {_name(key)}", *(points(found[key, group].regret) for group in groups)])
    random = [lost_at_random(found[keys[0], group].accuracies) for group in groups]
    rows.append(["a random model, on average (baseline)", *map(points, random)])
    return markdown_table(rows, words=1)


def models_table(histories: Sequence[History]) -> str:
    """The models, their metrics and accuracies, one a row."""
    keys = [key for key in (*PAPER, *OURS, *ACCURACIES) if any(history.has(key) for history in histories)]
    rows = [["model", *(_name(key) for key in keys)]]
    for history in histories:
        rows.append([history.name, *(_cell(key, _value(history, key)) for key in keys)])
    return markdown_table(rows, words=1)


def transfer_csv(found: Mapping[tuple[str, str], Compared], probe: str) -> str:
    """One line a metric and architecture, at full precision, p corrected for all; empty where undefined."""
    rows = [
        [key, probe, group, *r.line(p)]
        for ((key, group), r), p in zip(found.items(), corrected_p(found.values()), strict=True)
    ]
    return as_csv([["metric", "probe", "models", *COLUMNS], *rows])


def _name(key: str) -> str:
    own = {SPREAD: "U", ALIGNMENT: "A", CRR_PER_DIMENSION: "adjusted CRR per dimension"}
    return own[key] if key in own else CATALOGUE[key].name


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "–"
    return CATALOGUE[key].formatted(value) if key in TABLED else f"{value:.4f}"


def _value(history: History, key: str) -> float | None:
    return history.column(key)[0] if history.has(key) else None


def _published(history: History) -> bool:
    return history.params.get("weights") == "published"


def _points(histories: Sequence[History]) -> list[Point]:
    found = [(history.name, _value(history, ENTROPY), _value(history, PROBE)) for history in histories]
    return [Point(name, x, y) for name, x, y in found if x is not None and y is not None]
