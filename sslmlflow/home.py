"""Where the project keeps its state: `SSLMLFLOW_HOME`, by default the user's data folder."""

import errno
import os
from pathlib import Path

import platformdirs

from sslmlflow.errors import UserError
from sslmlflow.files import private_folder


def home() -> Path:
    """The folder of caches, downloads, spools and resume checkpoints; made, for this user alone, if it is not there.

    `mlflow run` of a git address works in a folder that vanishes, so nothing that must last lies there.
    """
    given = os.environ.get("SSLMLFLOW_HOME")
    folder = Path(given).expanduser().absolute() if given else Path(platformdirs.user_data_path("sslmlflow"))
    _require_writable(folder)
    return folder


def _require_writable(folder: Path) -> None:
    try:
        if not folder.is_absolute():  # a user without a home folder
            raise FileNotFoundError(errno.ENOENT, "no home folder")
        private_folder(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise UserError(
            f"the folder {folder}, which keeps checkpoints and caches, cannot be written: {error.strerror}. "
            "Set SSLMLFLOW_HOME to a folder that you can write."
        ) from error
