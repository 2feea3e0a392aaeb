"""The milestone chosen without labels: how far the choice can be trusted, and its place in the model registry."""

from collections.abc import Mapping

from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.exceptions import MlflowException

from sslmlflow.errors import in_short
from sslmlflow.metrics.catalogue import CRR_ADJUSTED, LEAST_IMAGES, MEASURES, STANDARDISED
from sslmlflow.metrics.correlation import lost_at_random, lost_by_the_last
from sslmlflow.metrics.unlabelled.alarms import PARTIAL, partly_collapsed
from sslmlflow.metrics.unlabelled.choice import Candidate, Choice, choose
from sslmlflow.milestone.layout import ABOUT_FILE
from sslmlflow.reporting.history import Course
from sslmlflow.reporting.memorisation import memorised
from sslmlflow.texts import printable
from sslmlflow.tracking.stored import about_of, deviations_of

ALIAS = "label-free-best"
TRAINED_ON_IT = "UMM raises the coding rate reduction itself: along a tuning, more is no sign of a better encoder."


def choose_milestone(course: Course, criterion: str) -> Choice:
    """The milestone with the best value of a label-free criterion, the lowest of a loss; labels play no part."""
    columns = [course.column(key) for key in (criterion, f"{criterion}_low", f"{criterion}_high")]
    if MEASURES[criterion].lower_is_better:  # of which none has an interval
        columns[0] = [None if value is None else -value for value in columns[0]]
    paired = criterion == CRR_ADJUSTED
    deviations = [deviations_of(model) if paired else None for model in course.models]
    return choose([Candidate(*row) for row in zip(course.epochs, *columns, deviations, strict=True)])


def verdict(course: Course, criterion: str, choice: Choice) -> str:
    """The choice in words: its basis, what it is not separated from, and the points it loses where there are labels."""
    rated = len(course.values.get(criterion, {}))
    if choice.chosen is None:
        return (
            f"No milestone can be chosen without labels: {MEASURES[criterion].name} has no value. It is undefined (the "
            "tags of the milestones say why), or not measured yet (`evaluate` does)."
        )
    text = f"Chosen without labels: epoch {choice.chosen}, the {MEASURES[criterion].best}"
    text += "." if rated == len(course.epochs) else f" of the {rated} of {len(course.epochs)} milestones that have it."
    if rated == 1:
        text += " There is nothing to compare it with."
    elif not course.has(f"{criterion}_low"):
        text += " This criterion has no interval: nothing is said of how far the choice can be trusted."
    elif choice.tied:
        text += f" The criterion does not separate it from epoch {', '.join(map(str, choice.tied))}."
    elif choice.separated:
        text += " The criterion separates it from all other milestones."
    if not _has_signal(course, criterion, choice):
        text += " It is within the spread of the shuffled baseline: there is no signal to choose by yet."
    parts = [course.values.get(f"label_free/{name}", {}).get(choice.chosen, 0.0) for name in PARTIAL]
    for alarm in partly_collapsed(*parts):
        text += f" Suspicious: {alarm}."
    if words := memorised(course):
        text += f" {words}"
    if course.trained_on_rate:
        text += f" {TRAINED_ON_IT}"
    if (lost := points_lost(course, choice)) is not None:
        best = max(course.values[STANDARDISED].items(), key=lambda item: (item[1], -item[0]))[0]
        where = "" if course.dataset_of(STANDARDISED) == course.dataset else f" on {course.dataset_of(STANDARDISED)}"
        result = f"the best is epoch {best}: the choice lost {lost:.1f} points" if lost else "none is better"
        text += f" By the standardised probe{where} {result}.{_baselines(course)}"
    return text


def _baselines(course: Course) -> str:
    last, random = baselines(course)
    if last is None or random is None:
        return ""
    return f" Taking the last loses {last:.1f} points, a random one {random:.1f} on average."


def _has_signal(course: Course, criterion: str, choice: Choice) -> bool:
    """Whether the chosen value is beyond its resolution, where the criterion has one."""
    resolution = course.values.get(f"{criterion}_resolution", {})
    return choice.chosen not in resolution or course.values[criterion][choice.chosen] >= resolution[choice.chosen]


def points_lost(course: Course, choice: Choice) -> float | None:
    """Percentage points between the chosen milestone's standardised probe and the best; None without labels."""
    accuracies = course.values.get(STANDARDISED, {})
    if choice.chosen not in accuracies:
        return None
    return 100 * (max(accuracies.values()) - accuracies[choice.chosen])


def baselines(course: Course) -> tuple[float | None, float | None]:
    """Percentage points that taking the last milestone, and on average a random one, loses; None without labels."""
    accuracies = course.column(STANDARDISED)
    lost = lost_by_the_last(accuracies), lost_at_random(accuracies)
    last, random = (None if points is None else 100 * points for points in lost)
    return last, random


def register(client: MlflowClient, course: Course, choice: Choice, criterion: str) -> str:
    """Register the chosen milestone as `sslmlflow-<experiment>` under the alias `label-free-best`, if it is reliable.

    It is separated from all others, beyond its resolution, and measured on enough images. Returns what was done, in
    words. A milestone that is registered already is not registered again.
    """
    if not choice.separated:
        if not course.has(f"{criterion}_low"):
            return "Not registered: this criterion has no interval."
        return "Not registered: it is not separated from all other milestones."
    if not _has_signal(course, criterion, choice):
        return "Not registered: there is no signal to choose by."
    model = next(model for model, epoch in zip(course.models, course.epochs, strict=True) if epoch == choice.chosen)
    tags = {"criterion": criterion, "epoch": str(choice.chosen), "run_id": course.run_id}
    if (lost := points_lost(course, choice)) is not None:
        tags["points_lost"] = f"{lost:.2f}"
    return register_model(client, model, ALIAS, tags)


def _held_out_images(model: LoggedModel) -> int | None:
    """How many images the criterion of a milestone was measured on."""
    try:
        return int(about_of(model)["monitor"]["images"])
    except (MlflowException, OSError, ValueError, KeyError, TypeError):
        return None


def register_model(client: MlflowClient, model: LoggedModel, alias: str, tags: Mapping[str, str]) -> str:
    """Register a milestone as `sslmlflow-<experiment>` under an alias; what was done, in words.

    Nothing is registered that was measured on few held-out images. What was registered before does not take the alias
    back from a later version of another run (tag `run_id`).
    """
    if (images := _held_out_images(model)) is None:
        return f"Not registered: the {ABOUT_FILE} of {model.model_id} cannot be read."
    if images < LEAST_IMAGES:
        return f"Not registered: it was measured on {images} held-out images, fewer than {LEAST_IMAGES}."
    try:
        experiment = client.get_experiment(client.get_run(str(model.source_run_id)).info.experiment_id)
        name = "sslmlflow-" + "".join("_" if letter in "/:'\"" else letter for letter in experiment.name)
        version = _version_of(client, name, model)
        held = client.get_registered_model(name).aliases.get(alias)
        holder = client.get_model_version(name, held) if held else None
        other = holder is not None and holder.tags.get("run_id") != tags["run_id"]
        if holder and other and int(holder.version) > int(version):
            return (
                f"Registered before as {printable(name)}, version {version}. The alias {alias} is at version "
                f"{holder.version}, of run {printable(holder.tags.get('run_id'))}, and stays there."
            )
        client.set_registered_model_alias(name, alias, version)
        for key, value in tags.items():
            client.set_model_version_tag(name, version, key, value)
    except MlflowException as error:
        return f"Not registered: the model registry refused ({in_short(error)})"
    text = f"Registered as {printable(name)}, version {version}, alias {alias}."
    if holder and other:
        text += f" The alias was at version {holder.version}, of run {printable(holder.tags.get('run_id'))}."
    return text


def _version_of(client: MlflowClient, name: str, model: LoggedModel) -> str:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for version in client.search_model_versions(f"name = '{name}'"):
        if version.tags.get("model_id") == model.model_id:
            return str(version.version)
    source, tags = f"models:/{model.model_id}", {"model_id": model.model_id}
    made = client.create_model_version(name, source, model.source_run_id, tags=tags, model_id=model.model_id)
    return str(made.version)
