"""Where the project keeps its state: `SSLMLFLOW_HOME`, by default the user's data folder."""

import os
from pathlib import Path

import platformdirs

from sslmlflow.files import private_folder


def home() -> Path:
    """The folder of caches, downloads, spools and resume checkpoints; made, for this user alone, if it is not there.

    `mlflow run` of a git address works in a folder that vanishes, so nothing that must last lies there.
    """
    given = os.environ.get("SSLMLFLOW_HOME")
    folder = Path(given).expanduser().absolute() if given else Path(platformdirs.user_data_path("sslmlflow"))
    return private_folder(folder)
