"""The choice of images that a training was made with, from its parameters in MLflow; torch is not loaded."""

from collections.abc import Mapping

from mlflow import MlflowClient

from sslmlflow.config.data import DataOptions
from sslmlflow.config.options import options_of, read_config
from sslmlflow.errors import ConfigError, UserError
from sslmlflow.texts import printable
from sslmlflow.tracking.server import run_of

BIT_DEPTH_THEN = "16"  # of trainings that kept none


def images_of_run(client: MlflowClient, run_id: str) -> tuple[int, DataOptions]:
    """Size and choice of the images that a run was trained on; UserError if it is not a training."""
    return images_of(run_id, run_of(client, run_id).data.params)


def images_of(run_id: str, params: Mapping[str, str]) -> tuple[int, DataOptions]:
    """Size and choice of the images of a training, from its parameters; UserError if it is none."""
    if "resolved/image_size" not in params:
        raise UserError(f"run {run_id} is not a training of sslmlflow, or has not started yet.")
    given = {name: params[name] for name in options_of(DataOptions) if name in params}  # earlier releases had fewer
    try:
        # MLflow logs what it was given in the quotes of its shell; only this one can hold something to quote.
        own = {"data_dir": params["resolved/data_dir"], "bit_depth": params.get("resolved/bit_depth", BIT_DEPTH_THEN)}
        return int(params["resolved/image_size"]), read_config(DataOptions, {**given, **own})
    except (ConfigError, KeyError, ValueError) as error:
        what = f"no {error.args[0]}" if isinstance(error, KeyError) else printable(error)
        raise UserError(f"the parameters of run {run_id} are not those of a training of sslmlflow: {what}") from error
