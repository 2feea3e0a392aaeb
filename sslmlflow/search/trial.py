"""What one trial of a search is: tunings of the milestone with its values, and the label-free metric they come to."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import optuna
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from optuna.trial import FrozenTrial, TrialState

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.config.options import NONE, options_of, texts_of
from sslmlflow.config.tune import Tune, as_umm
from sslmlflow.config.umm import Umm
from sslmlflow.data.opening import dataset_spec
from sslmlflow.errors import DivergedError, PrunedError
from sslmlflow.evaluation.evaluate import evaluate
from sslmlflow.metrics.catalogue import CATALOGUE, LABEL_FREE, LIVE_CRITERIA
from sslmlflow.reporting.history import history_of
from sslmlflow.runs.origin import Origin
from sslmlflow.runs.train import train_to_end
from sslmlflow.runs.training import Training
from sslmlflow.runs.umm import prepare, training_images, umm_run
from sslmlflow.search.attributes import ALARMS, BEHIND, BEYOND, RUNS, VALUES, keep_measured, trial_told, values_told
from sslmlflow.search.limit_metrics import soundness
from sslmlflow.search.limits import TuningMetrics, alarms, limits
from sslmlflow.search.space import Range, suggest
from sslmlflow.search.study import SEAT, WHY
from sslmlflow.tracking.lock import is_busy, run_folder
from sslmlflow.tracking.logged_models import log_missing_metrics
from sslmlflow.tracking.run import TrackedRun
from sslmlflow.tracking.spool import Spool
from sslmlflow.tracking.stored import epoch_of, milestones_of_run

Watch = Callable[[int, Mapping[str, float]], None]


class Search:
    """The milestone and the objective that all trials of a study share."""

    def __init__(
        self, config: Tune, client: MlflowClient, parent: TrackedRun, model: LoggedModel, space: Sequence[Range]
    ) -> None:
        self.key = config.objective
        self._config = config
        self._client = client
        self._parent = parent
        self._model = model
        self._space = space
        self._untuned = TuningMetrics({}, {})
        self._told: set[int] = set()

    def tune_untuned(self, done: Sequence[str], started: Callable[[list[str]], None]) -> TuningMetrics:
        """What as long a tuning with alpha = beta = 0 comes to; trials are measured against it."""
        print("\nuntuned: as long with alpha = beta = 0, which sets the limits")
        seeds = max(self._config.untuned_seeds, self._config.trial_seeds)
        found = self._tune("untuned", {"alpha": 0.0, "beta": 0.0}, seeds, done, started)
        return TuningMetrics.untuned(found, self._config.trial_seeds)

    def against(self, untuned: TuningMetrics) -> "Search":
        """Judge the trials to come beside the untuned encoder."""
        self._untuned = untuned
        return self

    def objective(self, trial: optuna.Trial) -> float:
        """The value of one trial; TrialPruned where it is not worth going on, DivergedError where it has none.

        What was measured, the limits it passes, and the runs are attributes of the trial.
        """
        values = suggest(trial, self._space)
        trial.set_user_attr(VALUES, values)
        seat = trial.user_attrs[SEAT]
        name = f"trial {seat}: {values_told(values)}"
        print(f"\n{name}")
        done = trial.user_attrs.get(RUNS, [])
        try:
            of_seeds = self._tune(
                name,
                values,
                self._config.trial_seeds,
                done,
                lambda runs: trial.set_user_attr(RUNS, runs),
                self._watch(trial),
            )
        except PrunedError as error:
            trial.set_user_attr(BEHIND, str(error))
            raise optuna.TrialPruned(str(error)) from None
        measured = TuningMetrics.mean(of_seeds)
        found = limits(measured, self._untuned)
        keep_measured(trial, measured)
        trial.set_user_attr(ALARMS, alarms(measured.values, self.key, CATALOGUE[self.key].lower_is_better))
        trial.set_user_attr(BEYOND, [limit.words for limit in found if limit.excess > 0])
        for limit in found:
            trial.set_constraint(limit.name, limit.excess)
        value = measured.values[self.key]
        self._client.log_metric(self._parent.run_id, "tune/objective", value, step=seat)
        return value

    def tell(self, trials: Iterable[FrozenTrial]) -> None:
        """Say once of every trial that has ended what it came to."""
        for trial in trials:
            lost = trial.state == TrialState.FAIL and WHY not in trial.user_attrs  # it is done again
            if trial.state.is_finished() and not lost and trial.user_attrs[SEAT] not in self._told:
                self._told.add(trial.user_attrs[SEAT])
                print(trial_told(trial, self.key))

    def _watch(self, trial: optuna.Trial) -> Watch:
        """Report the objective of each milestone to the study, whose pruner may stop the trial."""

        def watch(epoch: int, metrics: Mapping[str, float]) -> None:
            if self.key not in metrics or epoch == 0 or epoch in trial.study.trials[trial.number].intermediate_values:
                return
            trial.report(metrics[self.key], step=epoch)
            if self._config.prune and epoch < self._config.epochs and trial.should_prune():
                raise PrunedError(f"behind the median of sound trials at epoch {epoch}")

        return watch

    def _tune(
        self,
        name: str,
        values: Mapping[str, float],
        seeds: int,
        done: Sequence[str],
        started: Callable[[list[str]], None],
        watch: Watch | None = None,
    ) -> list[TuningMetrics]:
        """Tune with so many seeds and measure each. `done` are runs that were begun before a kill, by seed."""
        runs = list(done)
        measured = []
        for number in range(seeds):
            before = done[number] if number < len(done) else None
            seed = self._config.seed + number
            run_name = name if seeds == 1 else f"{name}, seed {seed}"
            one = self._one({**values, "seed": seed, "resume": _goes_on(before)})

            def begun(run_id: str, number: int = number) -> None:
                runs[number : number + 1] = [run_id]
                started(runs)

            measured.append(self._tune_once(run_name, one, begun, watch if number == 0 else None))
        return measured

    def _one(self, values: Mapping[str, Any]) -> Umm:
        # Named, not `auto`: whichever process goes on with a trial gives the same.
        source = str(self._model.source_run_id)
        return dataclasses.replace(as_umm(self._config), run=source, milestone=self._model.model_id, **values)

    def _tune_once(self, name: str, one: Umm, begun: Callable[[str], None], watch: Watch | None) -> TuningMetrics:
        origin = Origin.of(self._client, self._model)
        training = dataclasses.replace(prepare(one, origin), name=name)
        if watch:
            training = dataclasses.replace(training, watch=watch)
        with umm_run(one, training, origin, below=self._parent) as child:
            begun(child.run_id)
            train_to_end(child, training)
            last = milestones_of_run(self._client, child.run_id)[-1]
            spool = Spool(child.folder / "spool.db")
            measured = {
                key: value for key, value in spool.metrics_of_milestone(epoch_of(last)).items() if "time/" not in key
            }
            spool.close()
            noisy, deviations = soundness(training, last, self.key, measured)
            log_missing_metrics(self._client, child.run_id, last, noisy)
            measured |= noisy
            if self.key not in measured and self.key not in LIVE_CRITERIA:
                measured |= self._clustered(child, one, last, training)
            if not math.isfinite(measured.get(self.key, math.nan)):
                raise DivergedError(
                    f"{CATALOGUE[self.key].name} has no value for the tuned encoder (the tags of its last milestone "
                    f"say why, run {child.run_id})"
                )
            return TuningMetrics(measured, deviations)

    def _clustered(self, child: TrackedRun, one: Umm, last: LoggedModel, training: Training) -> dict[str, float]:
        """The metrics that `evaluate` measures without labels."""
        size, images = training_images(self._client, one, str(self._model.source_run_id))
        options = dataclasses.replace(self._config, labels="none")
        texts = texts_of(options)
        child.log_missing_params({name: texts[name] for name in options_of(EvaluationOptions)})
        spec = dataset_spec(images, size, "none")
        evaluate(child, spec, training.sets, options, [last], training.machine.device)
        history = history_of(self._client, child.run_id)
        values = {key: history.column(key)[-1] for key in LABEL_FREE if history.has(key)}
        return {key: value for key, value in values.items() if value is not None}


def _goes_on(run_id: str | None) -> str:
    """What `resume` is to be: a run is gone on with where its checkpoints are, and nobody works on it."""
    return run_id if run_id and (run_folder(run_id) / "run.json").exists() and not is_busy(run_id) else NONE
