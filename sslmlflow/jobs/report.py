"""Entry point `report`: how far the label-free metrics can be believed, and the milestone that they choose."""

import gc
from collections.abc import Sequence
from dataclasses import replace

from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Run

from sslmlflow.config.report import Report, ReportOptions
from sslmlflow.errors import ConfigError, UserError
from sslmlflow.figures.progress import progress_figure
from sslmlflow.metrics.catalogue import ACCURACIES, MEASURES, PROBE, STANDARDISED
from sslmlflow.reporting.across_models import swept_runs, tell_transfer
from sslmlflow.reporting.choice import choose_milestone, register, verdict
from sslmlflow.reporting.correlations import as_markdown, correlations, correlations_csv
from sslmlflow.reporting.cost import augmenting_probes, seconds_table
from sslmlflow.reporting.figures import report_figures
from sslmlflow.reporting.history import Course, courses_of
from sslmlflow.reporting.overfitting import overfitting_table
from sslmlflow.reporting.overview import MANY, NOTE, overview
from sslmlflow.reporting.tables import milestones_csv, milestones_table
from sslmlflow.runs.start import training_courses
from sslmlflow.texts import in_markdown, printable
from sslmlflow.tracking.resuming import ENTRY_POINT
from sslmlflow.tracking.run import TrackedRun, tracked_run
from sslmlflow.tracking.server import connect, current_experiment
from sslmlflow.tracking.stored import runs_by_id

NOT_ALONE = "Not registered: that takes a report on this training alone (--runs=ID)."


def run(config: Report) -> None:
    """Report from the command line or `mlflow run`."""
    # Of thousands of milestones there are a million small objects, all needed to the end: by default Python's collector
    # looks through them hundreds of times, a third of the whole time.
    gc.set_threshold(200_000, 50, 50)
    client = connect()
    given = _given(client, config)
    if sweep := _sweep(given, config):
        with tracked_run("report", config, f"report on {printable(sweep.info.run_name)}") as tracked:
            tracked.set_tags({"mlflow.parentRunId": sweep.info.run_id})
            tell_transfer(tracked, courses_of(client, swept_runs(client, sweep.info.run_id)), {})
        return
    courses = _told_apart(courses_of(client, given) if given else training_courses(client))
    name = f"report on {courses[0].name}" if len(courses) == 1 else f"report on {len(courses)} runs"
    with tracked_run("report", config, name) as tracked:
        if len(courses) == 1:
            tracked.set_tags({"mlflow.parentRunId": courses[0].run_id})
        report(tracked, courses, config)


def report(tracked: TrackedRun, courses: Sequence[Course], options: ReportOptions) -> None:
    """Print the tables, make them the run's description, and log them and their figures."""
    client, run_id = tracked.client, tracked.run_id
    if len(courses) > MANY:
        _report_many(tracked, courses, options)
        return
    told = []
    for course in courses:
        choice = choose_milestone(course, options.criterion)
        words = verdict(course, options.criterion, choice)
        # Trainings are not ranked against each other: the criterion compares milestones of one.
        if options.register and choice.chosen is not None:
            alone = len(courses) == 1
            words += " " + (register(client, course, choice, options.criterion) if alone else NOT_ALONE)
        keys = [key for key in (options.criterion, *ACCURACIES) if course.has(key)]
        print(f"\n{course.name} ({course.run_id})\n{milestones_table(course, keys, choice.chosen)}\n\n{words}")
        table = milestones_table(course, keys, choice.chosen, markdown=True)
        told.append(f"## {in_markdown(course.name)}\n\n{table}\n\n{in_markdown(words)}")
        suffix = "" if len(courses) == 1 else f"_{course.run_id[:8]}"
        tracked.log_figure(_progress(course, options.criterion, choice.chosen), f"figures/progress{suffix}.png")
    cells = {probe: correlations(courses, probe) for probe in (PROBE, STANDARDISED)}
    tables = [as_markdown(found) for found in cells.values() if found]
    watched = overfitting_table(courses), seconds_table(courses, augmenting_probes(client, courses))
    tables += [table for table in watched if table]
    # MLflow shows 8,000 characters: with several trainings, what compares them comes first.
    told = [*told, *tables] if len(courses) == 1 else [*tables, *told]
    tracked.describe("\n\n".join(told))
    client.log_text(run_id, "\n\n".join(told) + "\n", "report.md")
    client.log_text(run_id, milestones_csv(courses), "milestones.csv")
    if any(cells.values()):
        client.log_text(run_id, correlations_csv(list(cells.values())), "correlations.csv")
    for name, figure in report_figures(client, courses, cells):
        tracked.log_figure(figure, f"figures/{name}.png")
    print(f"\ntables and figures: artifacts of run {run_id}")


def _report_many(tracked: TrackedRun, courses: Sequence[Course], options: ReportOptions) -> None:
    """Print one table of all trainings, and log it and every value."""
    table = overview(courses, options.criterion)
    print(f"\n{table.plain}\n\n{NOTE}")
    described = f"{NOTE}\n\n{table.markdown}"
    tracked.describe(described)
    for name, text in {
        "report.md": described + "\n",
        "trainings.csv": table.csv,
        "milestones.csv": milestones_csv(courses),
    }.items():
        tracked.client.log_text(tracked.run_id, text, name)
    print(f"\ntables: artifacts of run {tracked.run_id}")


def _progress(course: Course, criterion: str, chosen: int | None) -> Figure:
    accuracies = {MEASURES[key].name: course.column(key) for key in ACCURACIES if course.has(key)}
    return progress_figure(course.epochs, (MEASURES[criterion].name, course.column(criterion)), accuracies, chosen)


def _given(client: MlflowClient, config: Report) -> list[Run]:
    """The runs that `runs` names; none for auto."""
    if config.runs is None:
        return []
    given = [run_id.strip() for run_id in config.runs.split(",") if run_id.strip()]
    if not given:
        raise ConfigError(f"runs={config.runs} is not possible. Allowed: auto, or run ids separated by commas.")
    return list(runs_by_id(client, given, [current_experiment(client)]).values())


def _sweep(runs: Sequence[Run], config: Report) -> Run | None:
    """The sweep among the runs, which is to be alone."""
    kinds = {str(run.data.tags.get(ENTRY_POINT)) for run in runs}
    if "swept" in kinds:
        swept = next(run for run in runs if run.data.tags.get(ENTRY_POINT) == "swept")
        sweep = printable(swept.data.tags.get("mlflow.parentRunId", "ID of the sweep"))
        raise UserError(
            f"runs={config.runs} holds a model of a sweep. Models are reported together, by --runs={sweep}."
        )
    if "sweep" in kinds and len(runs) > 1:
        raise UserError(
            f"runs={config.runs} is not possible: a sweep is reported alone, by --runs={runs[0].info.run_id}."
        )
    return runs[0] if kinds == {"sweep"} else None


def _told_apart(courses: Sequence[Course]) -> list[Course]:
    """Give trainings of the same name their run id beside it."""
    names = [course.name for course in courses]
    return [
        replace(course, name=f"{course.name} {course.run_id[:6]}") if names.count(course.name) > 1 else course
        for course in courses
    ]
