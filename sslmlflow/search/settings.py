"""What belongs to a study: the ranges that it searches, and all that its values depend on besides."""

from collections.abc import Mapping

import optuna
from mlflow.entities import LoggedModel

from sslmlflow.config.evaluate import EvaluationOptions
from sslmlflow.config.options import AUTO, NONE, deciding_texts, options_of, texts_of, todays
from sslmlflow.config.tune import Tune
from sslmlflow.digests import digest
from sslmlflow.errors import UserError
from sslmlflow.metrics.catalogue import LIVE_CRITERIA
from sslmlflow.rules import changed_rules
from sslmlflow.runs.training import Training, resolved
from sslmlflow.runs.umm import balance_at_start
from sslmlflow.search.attributes import RANGES, SETTINGS
from sslmlflow.search.space import Range, around, read_space
from sslmlflow.tracking.run import TrackedRun


def space_of(config: Tune, leading: TrackedRun, study: optuna.Study, training: Training) -> list[Range]:
    """The ranges that are searched; those of alpha and beta that are `auto` are found once and kept in the study."""
    if RANGES not in study.user_attrs:
        ranges = {"alpha": config.alpha_range, "beta": config.beta_range}
        if wanted := [name for name, text in ranges.items() if text is None]:
            found = balance_at_start(wanted, config, training)
            weights = " and ".join(f"{name} = {value:.3g}" for name, value in found.items())
            print(f"equal gradients before the first step: {weights}")
            ranges = {name: text or around(found[name]) for name, text in ranges.items()}
        study.set_user_attr(RANGES, ranges)
    ranges = study.user_attrs[RANGES]
    leading.log_missing_params(resolved({f"{name}_range": text for name, text in ranges.items()}))
    space = read_space(**ranges, search=config.search)
    print(f"searched: {', '.join(map(str, space))}")
    return space


def settings_of(config: Tune, model: LoggedModel, training: Training) -> dict[str, str]:
    """Everything besides the searched values that a trial's value depends on."""
    left_out = {"run", "milestone", "precision"}  # settled below
    left_out |= {"labels", "probe"}  # labels come after the search
    if config.objective in LIVE_CRITERIA:
        left_out |= set(options_of(EvaluationOptions))
    texts = {name: text for name, text in deciding_texts(config).items() if name not in left_out}
    return {
        **texts,
        "milestone it starts from": model.model_id,
        "settled precision": training.machine.precision,
        "held-out images and how they are measured": training.monitor.digest,
        **training.data,
    }


def earlier_name(settings: Mapping[str, str]) -> str:
    """The name by default of a study that an earlier build began with these settings, which spelled them otherwise."""
    objective = settings["objective"].removeprefix("label_free/")
    search = AUTO if settings["search"] == NONE else settings["search"]
    return default_name({**settings, "objective": objective, "search": search})


def default_name(settings: Mapping[str, str]) -> str:
    """The name of a study that is given none: the same for the same settings."""
    return f"umm-{digest(dict(settings))[:12]}"


def check_settings(study: optuna.Study, settings: dict[str, str]) -> None:
    """Keep a study's settings, or refuse others: its values could not be compared."""
    known = study.user_attrs.get(SETTINGS)
    if known is None:
        study.set_user_attr(SETTINGS, settings)
        return
    if rules := changed_rules(known, settings):
        raise UserError(
            f"study {study.study_name} cannot be extended: it was begun by another build of sslmlflow, and since then "
            f"a rule has changed: {'; '.join(rules)}. Its values could not be compared with each other. Begin another "
            "study by --study=NAME, or extend it with the build that began it."
        )
    # An option that did not exist when the study began had its default.
    known = {**texts_of(Tune()), **todays(Tune, known)}
    changed = [name for name in settings if known.get(name) != settings[name]]
    if changed:
        told = "; ".join(f"{name} was {known.get(name)}, now {settings[name]}" for name in changed)
        raise UserError(
            f"study {study.study_name} cannot go on with other settings: {told}. Give the same, or begin another study "
            "by --study=NAME."
        )
