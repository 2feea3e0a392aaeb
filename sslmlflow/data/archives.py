"""Find, download, check and unpack the official archive of a data set."""

import http.client
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Protocol

from sslmlflow.data.cache import locked
from sslmlflow.errors import UserError


class Download(Protocol):
    """Where an archive comes from, its MD5 sum, and the folder that unpacking it gives."""

    @property
    def url(self) -> str: ...
    @property
    def md5(self) -> str: ...
    @property
    def folder(self) -> str: ...


def unpacked(archive: Download, place: Path, download: bool) -> Path:
    """Return the unpacked folder of `archive` in `place`, downloading only when allowed.

    Raises UserError when the archive is missing, cannot be downloaded, or is not the official one.
    """
    folder = place / archive.folder
    if folder.is_dir():
        return folder
    from torchvision.datasets.utils import check_integrity  # not above: torchvision brings torch's compiler

    path = place / archive.url.rsplit("/", 1)[-1]
    if not download and not path.exists():
        raise UserError(
            f"There is neither {path} nor {folder}. Pass --download=true to fetch the archive from "
            f"{archive.url}, or put it at {path} yourself."
        )
    place.mkdir(parents=True, exist_ok=True)
    with locked(place / f".{path.name}.lock"):
        if not folder.is_dir():  # nobody else has made it meanwhile
            if download:
                _download(archive, path)
            if not check_integrity(str(path), archive.md5):
                raise UserError(
                    f"{path} is not the official archive (its MD5 sum should be {archive.md5}) or is "
                    "incomplete. Delete it and pass --download=true, or put a complete copy there."
                )
            _unpack(path, folder)
    return folder


def _download(archive: Download, path: Path) -> None:
    from torchvision.datasets.utils import download_url

    try:
        download_url(archive.url, str(path.parent), filename=path.name, md5=archive.md5)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise UserError(
            f"{archive.url} could not be downloaded to {path}: {error} Try again later, or fetch it by other "
            "means and put it there."
        ) from error


def _unpack(path: Path, folder: Path) -> None:
    """Unpack beside the target and rename, so that half an unpacked folder is never taken for a whole one."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".unpacking-") as temporary:
        try:
            with tarfile.open(path) as archive:
                archive.extractall(temporary, filter="data")
            shutil.move(Path(temporary, folder.name), folder)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise UserError(f"{path} could not be unpacked into {path.parent}: {error}") from error
