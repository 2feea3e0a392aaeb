"""A report: the tables, the verdict and the figures of one or several trainings."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from sslmlflow.config.report import ReportOptions
from sslmlflow.figures.progress import progress_figure
from sslmlflow.metrics.catalogue import ACCURACIES, MEASURES, PROBE, STANDARDISED
from sslmlflow.reporting.choice import choose_milestone, register, verdict
from sslmlflow.reporting.correlations import as_markdown, correlations, correlations_csv
from sslmlflow.reporting.cost import augmenting_probes, seconds_table
from sslmlflow.reporting.figures import report_figures
from sslmlflow.reporting.history import Course
from sslmlflow.reporting.overfitting import overfitting_table
from sslmlflow.reporting.overview import MANY, NOTE, overview
from sslmlflow.reporting.tables import milestones_csv, milestones_table
from sslmlflow.texts import in_markdown
from sslmlflow.tracking.run import TrackedRun

NOT_ALONE = "Not registered: that takes a report on this training alone (--runs=ID)."


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
