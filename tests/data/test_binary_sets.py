"""CIFAR and STL-10 from archives of the official layout, made small and served by a server of our own."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from sslmlflow.data.binary_sets import ARCHIVES, Archive, Part, open_images, open_labels
from sslmlflow.data.source import DatasetSpec
from sslmlflow.errors import UserError

NAMES = {
    "cifar10": "airplane automobile bird cat deer dog frog horse ship truck\n\n",
    "cifar100": " ".join(f"fine_{i:02}" for i in range(100)),
    "stl10": "airplane bird car cat deer dog horse monkey ship truck",
}


def small(archive: Archive) -> Archive:
    """The same archive with a thousandth of the rows."""

    def parts(files: tuple[Part, ...]) -> tuple[Part, ...]:
        return tuple(replace(file, rows=file.rows // 1000) for file in files)

    return replace(archive, train=parts(archive.train), test=parts(archive.test))


@dataclass
class Made:
    """A small archive with the images and labels that were put into it."""

    archive: Archive
    data: bytes = b""
    images: dict[str, np.ndarray] = field(default_factory=dict)
    labels: dict[str, np.ndarray] = field(default_factory=dict)


def make(name: str) -> Made:
    random = np.random.default_rng(0)
    made = Made(small(ARCHIVES[name]))
    side = made.archive.side
    files = {made.archive.class_names: NAMES[name].replace(" ", "\n").encode()}
    for part, members in (("train", made.archive.train), ("test", made.archive.test)):
        images, labels = [], []
        for file in members:
            pixels = random.integers(0, 256, (file.rows, 3, side, side), dtype=np.uint8)
            label = random.integers(0, 100 if name == "cifar100" else 10, file.rows)
            record = b""
            for image, fine in zip(pixels, label.tolist(), strict=True):
                if name == "cifar10":
                    record += bytes([fine])
                if name == "cifar100":
                    record += bytes([fine // 5, fine])
                if name == "stl10":
                    image = np.stack([channel.T for channel in image])
                record += image.tobytes()
            files[file.images] = record
            if file.labels:
                files[file.labels] = bytes(label.astype(np.uint8) + 1)
            elif name == "stl10":
                label = np.full(file.rows, -1)
            images.append(pixels)
            labels.append(label)
        made.images[part], made.labels[part] = np.concatenate(images), np.concatenate(labels)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(f"{made.archive.folder}/{path}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    made.data = buffer.getvalue()
    return made


@pytest.fixture
def served() -> Iterator[dict[str, bytes]]:
    """A server on this machine: put bytes under a path. The key "" holds its address."""
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    files[""] = f"http://127.0.0.1:{server.server_port}".encode()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield files
    server.shutdown()
    thread.join()
    server.server_close()


def publish(made: Made, served: dict[str, bytes], data: bytes | None = None) -> dict[str, Archive]:
    """Serve the archive (or other `data` in its name) and return the table that says where it is."""
    name = made.archive.url.rsplit("/", 1)[-1]
    served[f"/{name}"] = made.data if data is None else data
    archive = replace(made.archive, url=f"{served[''].decode()}/{name}", md5=hashlib.md5(made.data).hexdigest())
    return dict.fromkeys(ARCHIVES, archive)


def spec(name: str, **changes: object) -> DatasetSpec:
    return replace(DatasetSpec(name, None, True, None, None, None), **changes)


@pytest.mark.parametrize("name", list(ARCHIVES))
def test_images_and_labels_are_those_of_the_archive(name: str, tmp_path: Path, served: dict[str, bytes]) -> None:
    made = make(name)
    table = publish(made, served)
    sets, labels = open_images(spec(name), tmp_path, table), open_labels(spec(name), tmp_path, table)
    assert labels is not None
    for part, images, known in (("train", sets.train, labels.train), ("test", sets.test, labels.test)):
        assert images.shape == made.images[part].shape[1:]
        assert (images.read(np.arange(len(images))) == made.images[part]).all()
        assert known.tolist() == made.labels[part].tolist()
    assert labels.classes == tuple(NAMES[name].split())
    assert (sets.name, sets.notes) == (name, ())


@pytest.mark.parametrize("name", list(ARCHIVES))
def test_limits_and_sizes(name: str, tmp_path: Path, served: dict[str, bytes]) -> None:
    made = make(name)
    table = publish(made, served)
    few = spec(name, max_train=7, max_test=3)
    sets, labels = open_images(few, tmp_path, table), open_labels(few, tmp_path, table)
    assert labels is not None
    for part, images, known, count in (
        ("train", sets.train, labels.train, 7),
        ("test", sets.test, labels.test, 3),
    ):
        assert len(images) == len(known) == count
        whole = {image.tobytes(): label for image, label in zip(made.images[part], made.labels[part], strict=True)}
        assert [whole[image.tobytes()] for image in images.read(np.arange(count))] == known.tolist()
    resized = open_images(replace(few, image_size=16), tmp_path, table)
    assert resized.train.read(np.arange(7)).shape == (7, 3, 16, 16)
    # noise of mean 127.5 stays so, whichever the size
    assert abs(resized.train.read(np.arange(7)).mean() - 127.5) < 6


def test_downloaded_once_then_read_without_the_network(tmp_path: Path, served: dict[str, bytes]) -> None:
    table = publish(make("cifar10"), served)
    folder = tmp_path / "archives"
    before = open_images(spec("cifar10", folder=folder), tmp_path / "cache", table)
    served.pop("/cifar-10-binary.tar.gz")
    for download in (True, False):
        after = open_images(spec("cifar10", folder=folder, download=download), tmp_path / "new", table)
        assert after.train.fingerprint == before.train.fingerprint


def test_an_archive_put_there_by_hand(tmp_path: Path, served: dict[str, bytes]) -> None:
    made = make("cifar10")
    table = publish(made, served)
    missing = spec("cifar10", folder=tmp_path, download=False)
    with pytest.raises(UserError, match="--download=true"):
        open_images(missing, tmp_path / "cache", table)
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(made.data)
    assert len(open_images(missing, tmp_path / "cache", table).test) == 10


def test_another_archive_is_refused(tmp_path: Path, served: dict[str, bytes]) -> None:
    made = make("cifar10")
    table = publish(made, served, made.data[:-100])
    with pytest.raises(UserError, match="could not be downloaded"):
        open_images(spec("cifar10"), tmp_path, table)
    with pytest.raises(UserError, match="MD5"):
        open_images(spec("cifar10", download=False), tmp_path, table)
    publish(made, served)  # the server is mended: the bad copy is replaced
    assert len(open_images(spec("cifar10"), tmp_path, table).train) == 50


def test_a_server_without_the_archive(tmp_path: Path, served: dict[str, bytes]) -> None:
    table = publish(make("cifar10"), served)
    served.pop("/cifar-10-binary.tar.gz")
    with pytest.raises(UserError, match="404"):
        open_images(spec("cifar10"), tmp_path, table)


@pytest.mark.parametrize("name", list(ARCHIVES))
def test_truncated_and_missing_files(name: str, tmp_path: Path, served: dict[str, bytes]) -> None:
    table = publish(make(name), served)
    open_images(spec(name), tmp_path, table)
    file = tmp_path / "downloads" / table[name].folder / table[name].test[0].images
    whole = file.read_bytes()
    record = table[name].header + 3 * table[name].side ** 2
    for cut in (1, record):
        file.write_bytes(whole[:-cut])
        with pytest.raises(UserError, match="truncated"):
            open_images(spec(name), tmp_path, table)
    file.unlink()
    with pytest.raises(UserError, match="missing"):
        open_images(spec(name), tmp_path, table)


def test_labels_out_of_range(tmp_path: Path, served: dict[str, bytes]) -> None:
    table = publish(make("stl10"), served)
    open_images(spec("stl10"), tmp_path, table)
    (tmp_path / "downloads" / "stl10_binary" / "test_y.bin").write_bytes(bytes([0] * 8))
    with pytest.raises(UserError, match="outside"):
        open_labels(spec("stl10"), tmp_path, table)


def test_members_outside_of_the_folder_are_refused(tmp_path: Path, served: dict[str, bytes]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo("../../escaped")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    made = make("cifar10")
    made.data = buffer.getvalue()
    with pytest.raises(UserError, match="unpacked"):
        open_images(spec("cifar10", folder=tmp_path / "a" / "b"), tmp_path, publish(made, served))
    assert not list(tmp_path.rglob("escaped"))
    assert not list((tmp_path / "a" / "b").glob(".unpacking-*"))


def test_the_official_tables() -> None:
    """Rows, sizes and places as the pages of the data sets give them."""
    assert {name: sum(p.rows for p in a.train) for name, a in ARCHIVES.items()} == {
        "cifar10": 50_000,
        "cifar100": 50_000,
        "stl10": 105_000,
    }
    assert {name: sum(p.rows for p in a.test) for name, a in ARCHIVES.items()} == {
        "cifar10": 10_000,
        "cifar100": 10_000,
        "stl10": 8_000,
    }
    assert all(len(archive.md5) == 32 for archive in ARCHIVES.values())
