"""Embeddings and labels from files that are broken, hostile, or written in other types: read as `score` reads them."""

import io
import os
import re
import struct
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from sslmlflow.config.score import Score
from sslmlflow.errors import UserError
from sslmlflow.evaluation.embedding_files import read_views
from sslmlflow.evaluation.embedding_labels import read_labels
from sslmlflow.evaluation.numpy_files import load_array
from sslmlflow.evaluation.score import LABELLED, measure


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def headed(header: str, data: bytes = b"", version: int = 1) -> bytes:
    """A .npy file with a header of one's own."""
    size = struct.pack("<H" if version == 1 else "<I", len(header) + 1)
    return b"\x93NUMPY" + bytes([version, 0]) + size + header.encode("latin1") + b"\n" + data


def shaped(shape: str, descr: str = "'<f4'", data: bytes = b"") -> bytes:
    return headed(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}", data)


def zipped(entry: bytes, method: int = zipfile.ZIP_DEFLATED, name: str = "z.npy") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, entry)
    return file.getvalue()


def declaring(archive: bytes, size: int) -> bytes:
    """The archive with another size of its entry in both of its headers."""
    at, central = 22, archive.rindex(b"PK\x01\x02") + 24
    packed = struct.pack("<I", size)
    return archive[:at] + packed + archive[at + 4 : central] + packed + archive[central + 4 :]


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 255]) + data[at + 1 :]


Z = np.arange(300, dtype=np.float32).reshape(100, 3)
NOISE = np.random.default_rng(0).normal(size=(100, 3))
STORED, PACKED = zipped(npy(NOISE), zipfile.ZIP_STORED), zipped(npy(NOISE))
CENTRAL = b"PK\x01\x02\x14\x03\x14\x00"  # how a zip's list of entries begins, up to the flags and the method
DEEP = "(" * 4000
HEADER, BROKEN = "its header is damaged", "cannot be read as a NumPy file"
HOSTILE = {
    "rows that are not there": (shaped("(1000000000000, 512)"), "1,000,000,000,000 x 512 of float32, 2,048,000.000 GB"),
    "more rows than a number holds": (shaped(f"({10**30}, 2)"), "and 0 bytes follow"),
    "a last row cut off": (npy(Z)[:-1], "is damaged or cut off: its header claims 100 x 3 of float32, 1,200 bytes"),
    "only a header": (shaped("(5, 2)"), "claims 5 x 2 of float32, 40 bytes, and 0 bytes follow"),
    "a wide subarray": (shaped("(9,)", "('<f4', (1000000,))"), "and 0 bytes follow"),
    "a negative shape": (shaped("(-5, 2)", data=bytes(40)), "is damaged or cut off"),
    "two negative sides": (shaped("(-5, -2)", data=bytes(40)), "is damaged or cut off"),
    "no numbers in the shape": (shaped("('a', 2)"), HEADER),
    "too many sides": (shaped("(" + "1," * 99 + ")", data=bytes(4)), BROKEN),
    "nothing, widely": (shaped(f"(0, {10**30})"), BROKEN),
    "deep parentheses": (headed(DEEP), HEADER),
    "deep brackets, closed": (shaped("[" * 4000 + "]" * 4000), HEADER),
    "deep signs": (shaped("(" + "-" * 9000 + "1,)"), HEADER),
    "deep types": (shaped("(2,)", "[('a', " * 800 + "'<f4'" + ")]" * 800), HEADER),
    "a long header": (headed("'" + "a" * 60000 + "'"), HEADER),
    "a header of 4 GB": (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", HEADER),
    "no header": (b"\x93NUMPY", HEADER),
    "a header that is code": (headed("__import__('os').abort()"), HEADER),
    "a header of version 9": (headed("{}", version=9), HEADER),
    "no dictionary": (headed("[1, 2]"), HEADER),
    "an unknown type": (shaped("(2,)", "'<z9'"), HEADER),
    "objects": (shaped("(2,)", "'|O'", bytes(16)), "holds Python objects, which may be code"),
    "objects inside": (shaped("(2,)", "[('a', '<f4'), ('b', '|O')]", bytes(24)), "holds Python objects"),
    "an empty zip": (b"PK\x05\x06" + bytes(18), "holds 0 arrays"),
    "a zip cut off": (PACKED[:-30], BROKEN),
    "a zip without its head": (b"PK" + PACKED[40:], BROKEN),
    "a bad sum, stored": (flipped(STORED, 900), "Bad CRC-32"),
    "a bad sum, packed": (flipped(PACKED, 900), BROKEN),
    "an entry that is no array": (zipped(b"hello"), HEADER),
    "an empty entry": (zipped(b""), HEADER),
    "an unknown method": (PACKED.replace(CENTRAL + b"\x00\x00\x08", CENTRAL + b"\x00\x00\x63"), BROKEN),
    "a locked entry": (PACKED.replace(CENTRAL + b"\x00", CENTRAL + b"\x01"), BROKEN),
    "an entry smaller than it says": (declaring(zipped(shaped("(10000000,)")), 40_000_200), BROKEN),
    "a name that clears the terminal": (zipped(b"", name="\x1b[2J\n.npy"), HEADER),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_with_a_sentence(tmp_path: Path, case: str) -> None:
    data, said = HOSTILE[case]
    (tmp_path / "z.npy").write_bytes(data)
    for read in (lambda path: load_array(path, "embeddings"), lambda path: read_views(path, None)):
        with pytest.raises(UserError, match=said) as refused:
            read(f"{tmp_path}/z.npy")
        assert str(refused.value).isprintable()
        assert len(str(refused.value)) < 500
        assert "allow_pickle" not in str(refused.value)


def test_every_file_cut_anywhere_and_many_a_changed_byte_are_read_or_refused(tmp_path: Path) -> None:
    random, path = np.random.default_rng(0), tmp_path / "z"
    for whole in (npy(Z), PACKED, STORED, npy(np.array(["a", "bc"]))):
        cut = [whole[:length] for length in range(0, len(whole), 97)]
        changed = [flipped(whole, int(at)) for at in random.integers(0, len(whole), 60)]
        for data in (*cut, *changed):
            path.write_bytes(data)
            with suppress(UserError):
                load_array(str(path), "labels")
        path.write_bytes(whole[:-1])
        with pytest.raises(UserError):
            load_array(str(path), "labels")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero"):
        with pytest.raises(UserError, match="is not a file"):
            load_array(str(path), "embeddings")


def test_a_file_larger_than_memory_is_refused_by_its_size(tmp_path: Path) -> None:
    with open(tmp_path / "z.npy", "wb") as file:
        file.write(shaped("(1000000000, 512)"))
        file.truncate(3 * 10**12)  # sparse: it takes no room
    with pytest.raises(UserError, match=r"1,000,000,000 x 512 of float32, 2,048.000 GB, and this machine has .* GB"):
        load_array(f"{tmp_path}/z.npy", "embeddings")


def test_a_limit_of_memory_is_a_sentence_with_the_size(tmp_path: Path) -> None:
    with open(tmp_path / "z.npy", "wb") as file:
        file.write(shaped("(1000000, 512)"))
        file.truncate(2048 * 10**6 + 1000)
    # As `ulimit -v` does, but after the imports, whose own size differs between machines.
    code = """if True:
        import resource
        from pathlib import Path
        from sslmlflow.errors import UserError
        from sslmlflow.evaluation.embedding_files import read_views
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 500_000_000,) * 2)
        try:
            read_views("z.npy", None)
        except UserError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == (
        "embeddings=z.npy holds 1,000,000 x 512 of float32, 2.048 GB, more memory than this process may use.\n"
    )


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", ">f8", np.longdouble])
def test_the_order_and_width_of_the_numbers_in_a_file_have_no_part(tmp_path: Path, dtype: str, order: str) -> None:
    np.save(tmp_path / "z.npy", np.array(Z, dtype, order=order))  # type: ignore[call-overload]
    np.savez_compressed(tmp_path / "z.npz", np.array(Z, dtype, order=order))  # type: ignore[call-overload]
    for name in ("z.npy", "z.npz"):
        found = read_views(f"{tmp_path}/{name}", None).numpy()
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found[0], Z)


@pytest.mark.parametrize("wide", [np.float64, np.longdouble])
def test_what_float32_cannot_hold_of_wider_numbers_has_no_part(tmp_path: Path, wide: type) -> None:
    np.save(tmp_path / "wide.npy", NOISE.astype(wide))
    np.save(tmp_path / "single.npy", NOISE.astype(np.float32))
    found = [read_views(f"{tmp_path}/{name}.npy", None) for name in ("wide", "single")]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("scale", [1e300, 1e-60])
def test_numbers_out_of_reach_of_float32_are_refused_rather_than_lost(tmp_path: Path, scale: float) -> None:
    np.save(tmp_path / "z.npy", NOISE * scale)
    with pytest.raises(UserError, match=r"holds numbers up to \de[+-]\d+, beyond the range of float32"):
        read_views(f"{tmp_path}/z.npy", None)


@pytest.mark.parametrize("dtype", [np.complex64, "f4,f4", "V4", "m8[s]", "U3", bool])
def test_embeddings_that_are_no_floats_are_refused(tmp_path: Path, dtype: object) -> None:
    np.save(tmp_path / "z.npy", np.zeros((5, 2), dtype))  # type: ignore[call-overload]
    with pytest.raises(UserError, match=r"holds .*Allowed: floats"):
        read_views(f"{tmp_path}/z.npy", None)


NUMBERS = np.array([0, 1, 2, 0, 1, 2, 0, 1])
DAYS = np.datetime64("2024-01-01") + NUMBERS
CLASSES = {
    "whole numbers": NUMBERS,
    "small ones": NUMBERS.astype(np.uint8),
    "big-endian": NUMBERS.astype(">i8"),
    "floats": NUMBERS.astype(np.float16),
    "texts": np.array(["cat", "dog", "owl"])[NUMBERS],
    "bytes": np.array([b"cat", b"dog", b"owl"])[NUMBERS],
    "dates": DAYS,
    "other negative numbers": NUMBERS - 4,
}


@pytest.mark.parametrize("kind", CLASSES)
def test_classes_of_any_kind_are_the_same_classes(tmp_path: Path, kind: str) -> None:
    np.save(tmp_path / "y.npy", CLASSES[kind])
    found = read_labels(f"{tmp_path}/y.npy", 8)
    np.testing.assert_array_equal(found.classes, NUMBERS)
    assert found.undefined is None


@pytest.mark.parametrize(
    ("kind", "unknown"),
    [
        ("whole numbers", -1),
        ("floats", np.nan),
        ("floats", -1.0),
        ("dates", np.datetime64("NaT")),
        ("texts", ""),
        ("texts", "nan"),
        ("texts", "-1"),
        ("bytes", b""),
    ],
)
def test_an_image_without_a_label_has_no_class(tmp_path: Path, kind: str, unknown: object) -> None:
    labels = CLASSES[kind].copy()
    labels[[0, 4]] = unknown
    np.save(tmp_path / "y.npy", labels)
    found = read_labels(f"{tmp_path}/y.npy", 8)
    np.testing.assert_array_equal(found.classes, [-1, 1, 2, 0, -1, 2, 0, 1])
    assert found.known.tolist() == [1, 2, 3, 5, 6, 7]


USELESS = {
    "one class": (np.ones(60, int), "all images with a label are of one class"),
    "one class and unknown": (np.where(np.arange(60) < 40, 3.0, np.nan), "all images with a label are of one class"),
    "no label": (np.full(60, -1), "no image has a label"),
    "no text": (np.full(60, ""), "no image has a label"),
    "a class each": (np.arange(60), "every image with a label is of a class of its own"),
    "complex": (np.exp(1j * np.arange(60)), "labels of the type complex128 are not classes"),
    "structured": (np.zeros(60, "i4,i4"), "labels of the type .* are not classes"),
    "raw bytes": (np.zeros(60, "V4"), "labels of the type .* are not classes"),
    "durations": (np.zeros(60, "m8[s]"), "labels of the type .* are not classes"),
    "fractions": (np.arange(60) / 7, "labels that are fractions or infinite are not classes"),
    "infinity": (np.where(np.arange(60) < 5, np.inf, 1.0), "labels that are fractions or infinite are not classes"),
}


@pytest.mark.parametrize("case", USELESS)
def test_labels_that_are_no_two_classes_leave_every_labelled_metric_undefined(tmp_path: Path, case: str) -> None:
    labels, why = USELESS[case]
    np.save(tmp_path / "y.npy", labels)
    found = read_labels(f"{tmp_path}/y.npy", 60)
    assert found.undefined is not None
    np.save(tmp_path / "z.npy", np.zeros((60, 3)))  # collapsed, so that nothing else takes time
    measured = measure(read_views(f"{tmp_path}/z.npy", None), found, Score())
    for name in LABELLED:
        assert name not in measured.values
        assert re.fullmatch(why, measured.undefined[name])
