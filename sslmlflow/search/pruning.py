"""When a trial is not worth going on with."""

from statistics import median

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

LEAST = 5


class SoundMedianPruner(BasePruner):
    """Stops a trial whose value is worse than the median, at the same step, of the finished trials within all limits.

    Those beyond a limit are no yardstick: UMM can raise a coding rate reduction by what harms the encoder. Fewer than
    five of the others stop nobody.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        values = [
            other.intermediate_values[step] for other in finished if step in other.intermediate_values and sound(other)
        ]
        if step is None or len(values) < LEAST:
            return False
        lead = trial.intermediate_values[step] - median(values)
        return (-lead if study.direction == StudyDirection.MINIMIZE else lead) < 0


def sound(trial: FrozenTrial) -> bool:
    """Whether a trial keeps all limits."""
    return all(excess <= 0 for excess in trial.constraints.values())
