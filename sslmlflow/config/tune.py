"""Parameters of the entry point `tune`."""

from dataclasses import dataclass

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.config.options import AUTO, NONE, again, option, options_of, spelled
from sslmlflow.config.training import RunOptions
from sslmlflow.config.umm import Umm, UmmOptions
from sslmlflow.metrics.catalogue import CATALOGUE, CRR_ADJUSTED, OBJECTIVES


@dataclass(frozen=True)
class Tune(UmmOptions, EvaluationOptions, RunOptions):
    """Search alpha and beta of UMM by a label-free metric of held-out images; labels are used only after the choice."""

    objective: str = option(
        CRR_ADJUSTED,
        "label-free metric of the last milestone, on held-out images, by which trials are judged",
        choices=OBJECTIVES,
        earlier=spelled({CATALOGUE[key].short_name: key for key in OBJECTIVES}),
    )
    alpha_range: str | None = option(
        None,
        "range of alpha, as low..high or low..high:log; auto: 0.001 to 1 of the alpha at which, before the first step, "
        "the gradients of coding rate reduction and loss are equally long",
    )
    beta_range: str | None = option(
        None, "range of beta, as low..high or low..high:log; auto: likewise, of the divergence of the densities"
    )
    search: str | None = option(
        None,
        "further parameters of umm and their ranges, as name:low..high:log,name:low..high",
        null=NONE,
        earlier=spelled({AUTO: NONE}),
    )
    trials: int = option(
        20, "trials of the study in all; a larger number extends it later", minimum=1, changes_result=False
    )
    trial_seeds: int = option(1, "seeds with which each trial is tuned; their mean is its value", minimum=1)
    untuned_seeds: int = option(
        3,
        "seeds with which the encoder is tuned with alpha = beta = 0, at least trial_seeds; a trial may be worse by as "
        "much as these differ",
        minimum=1,
    )
    sampler: str = option(
        "tpe", "how values are drawn; alpha and beta as given are tried first", choices=("tpe", "gp", "quasi-random")
    )
    prune: bool = option(True, "stop a trial whose milestone is below the median of earlier trials at that epoch")
    study: str | None = option(
        None,
        "name of the study; auto: one for the milestone and these settings, so that the same command goes on with it",
        changes_result=False,
    )
    storage: str | None = option(
        None,
        "database of the studies, sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE; auto: a SQLite file in "
        "SSLMLFLOW_HOME",
        changes_result=False,
    )
    workers: int = option(
        1,
        "processes here that run trials side by side, with the cores divided among them; the same command on another "
        "machine joins a study in a database that both reach",
        minimum=1,
        changes_result=False,
    )
    heartbeat: int = option(
        15,
        "seconds between a trial's signs of life; one that is silent for four times as long is taken for dead, and "
        "done again",
        minimum=1,
        changes_result=False,
    )
    resume: str = again(
        RunOptions,
        "resume",
        help="none: the same command continues its study; or the run id of a study to lead from this machine",
    )


def as_umm(config: Tune) -> Umm:
    """The tuning that every trial of a search is, but for its values; no trial stops by itself."""
    shared = [name for name in options_of(Umm) if name in options_of(Tune) and name != "workers"]
    return Umm(**{name: getattr(config, name) for name in shared})
