"""A report: the tables, the verdict and the figures of one or several trainings."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from sslmlflow.config.report import ReportOptions
from sslmlflow.figures.progress import progress_figure
from sslmlflow.metrics.catalogue import ACCURACIES, CATALOGUE, PROBE, STANDARDISED
from sslmlflow.reporting.correlations import as_markdown, correlations, correlations_csv
from sslmlflow.reporting.cost import augmenting_probes, seconds_table
from sslmlflow.reporting.figures import report_figures
from sslmlflow.reporting.history import History
from sslmlflow.reporting.milestone_choice import choose_milestone, register, verdict
from sslmlflow.reporting.overfitting import overfitting_table
from sslmlflow.reporting.overview import MANY, NOTE, overview
from sslmlflow.reporting.tables import milestones_csv, milestones_table
from sslmlflow.texts import in_markdown
from sslmlflow.tracking.run import TrackedRun

NOT_ALONE = "Not registered: that takes a report on this training alone (--runs=ID)."


def report(tracked: TrackedRun, histories: Sequence[History], options: ReportOptions) -> None:
    """Print the tables, make them the run's description, and log them and their figures."""
    client, run_id = tracked.client, tracked.run_id
    if len(histories) > MANY:
        _report_many(tracked, histories, options)
        return
    told = []
    for history in histories:
        choice = choose_milestone(history, options.criterion)
        words = verdict(history, options.criterion, choice)
        # Trainings are not ranked against each other: the criterion compares milestones of one.
        if options.register and choice.chosen is not None:
            alone = len(histories) == 1
            words += " " + (register(client, history, choice, options.criterion) if alone else NOT_ALONE)
        keys = [key for key in (options.criterion, *ACCURACIES) if history.has(key)]
        print(f"\n{history.name} ({history.run_id})\n{milestones_table(history, keys, choice.chosen)}\n\n{words}")
        table = milestones_table(history, keys, choice.chosen, markdown=True)
        told.append(f"## {in_markdown(history.name)}\n\n{table}\n\n{in_markdown(words)}")
        suffix = "" if len(histories) == 1 else f"_{history.run_id[:8]}"
        tracked.log_figure(_progress(history, options.criterion, choice.chosen), f"figures/progress{suffix}.png")
    cells = {probe: correlations(histories, probe) for probe in (PROBE, STANDARDISED)}
    tables = [as_markdown(found) for found in cells.values() if found]
    watched = overfitting_table(histories), seconds_table(histories, augmenting_probes(client, histories))
    tables += [table for table in watched if table]
    # MLflow shows 8,000 characters: with several trainings, what compares them comes first.
    told = [*told, *tables] if len(histories) == 1 else [*tables, *told]
    tracked.describe("\n\n".join(told))
    client.log_text(run_id, "\n\n".join(told) + "\n", "report.md")
    client.log_text(run_id, milestones_csv(histories), "milestones.csv")
    if any(cells.values()):
        client.log_text(run_id, correlations_csv(list(cells.values())), "correlations.csv")
    for name, figure in report_figures(client, histories, cells):
        tracked.log_figure(figure, f"figures/{name}.png")
    print(f"\ntables and figures: artifacts of run {run_id}")


def _report_many(tracked: TrackedRun, histories: Sequence[History], options: ReportOptions) -> None:
    """Print one table of all trainings, and log it and every value."""
    table = overview(histories, options.criterion)
    print(f"\n{table.plain}\n\n{NOTE}")
    described = f"{NOTE}\n\n{table.markdown}"
    tracked.describe(described)
    for name, text in {
        "report.md": described + "\n",
        "trainings.csv": table.csv,
        "milestones.csv": milestones_csv(histories),
    }.items():
        tracked.client.log_text(tracked.run_id, text, name)
    print(f"\ntables: artifacts of run {tracked.run_id}")


def _progress(history: History, criterion: str, chosen: int | None) -> Figure:
    accuracies = {CATALOGUE[key].name: history.column(key) for key in ACCURACIES if history.has(key)}
    return progress_figure(history.epochs, (CATALOGUE[criterion].name, history.column(criterion)), accuracies, chosen)
