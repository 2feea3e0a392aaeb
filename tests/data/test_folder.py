"""The user's own folder: sides, labels, bad files, and labels that stay with their images."""

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sslmlflow.data import open_images, open_labels
from sslmlflow.data.source import DatasetSpec, Images, LabelSets
from sslmlflow.errors import ConfigError, UserError

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def spec(folder: Path | None, **changes: object) -> DatasetSpec:
    plain = DatasetSpec("folder", folder, download=False, image_size=None, max_train=None, max_test=None)
    return replace(plain, **changes)


def put(path: Path, colour: tuple[int, int, int] = (9, 9, 9), value: int = 0) -> None:
    """An image of one colour, `value` in its lower bits to tell it from the others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 36), tuple(abs(c - value) for c in colour)).save(path)


def put_classes(root: Path, count: int) -> None:
    for name, colour in COLOURS.items():
        for i in range(count):
            put(root / name / f"{i:03}.png", colour, i)


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def everything(images: Images) -> np.ndarray:
    return images.read(np.arange(len(images)))


def seen_classes(images: Images) -> list[int]:
    """The class each image shows: the index of its strongest channel, blue first."""
    return (2 - everything(images).mean((2, 3)).argmax(1)).tolist()


def labels_of(spec: DatasetSpec, cache: Path) -> LabelSets:
    labels = open_labels(spec, cache)
    assert labels is not None
    return labels


def assert_aligned(spec: DatasetSpec, cache: Path) -> None:
    sets, labels = open_images(spec, cache), labels_of(spec, cache)
    assert labels.classes == ("blue", "green", "red")
    assert labels.train.tolist() == seen_classes(sets.train)
    assert labels.test.tolist() == seen_classes(sets.test)


def test_a_flat_folder(tmp_path: Path) -> None:
    for i in range(20):
        put(tmp_path / "root" / f"{i}.jpg")
    sets = open_images(spec(tmp_path / "root"), tmp_path / "cache")
    assert (len(sets.train), len(sets.test)) == (18, 2)
    assert sets.train.shape == sets.test.shape == (3, 32, 32)
    assert open_labels(spec(tmp_path / "root"), tmp_path / "cache") is None


def test_class_folders_give_aligned_labels(tmp_path: Path) -> None:
    put_classes(tmp_path / "root", 15)
    assert_aligned(spec(tmp_path / "root"), tmp_path / "cache")
    assert_aligned(spec(tmp_path / "root", seed=1, test_fraction=0.4), tmp_path / "cache")
    assert open_labels(spec(tmp_path / "root", labels="none"), tmp_path / "cache") is None


def test_the_two_sides_share_no_image_and_leave_none_out(tmp_path: Path) -> None:
    put_classes(tmp_path / "root", 15)
    sides = []
    for seed in (0, 1):
        sets = open_images(spec(tmp_path / "root", seed=seed, test_fraction=0.2), tmp_path / "cache")
        train, test = ({image.tobytes() for image in everything(side)} for side in (sets.train, sets.test))
        assert len(test) == 9
        assert len(train) == 36
        assert not train & test
        sides.append(test)
    assert sides[0] != sides[1]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["a/1", "a/2", "b/3", "4"], "in no class folder"),
        (["a/1", "a/x/2"], "only one class"),
        (["train/a/1", "train/b/2", "test/a/3", "test/c/4"], "different classes"),
        (["train/1", "train/2", "test/3"], "in no class folder"),
    ],
)
def test_where_folders_name_no_classes_there_are_no_labels(tmp_path: Path, names: list[str], reason: str) -> None:
    for name in names:
        put(tmp_path / "root" / f"{name}.png")
    assert open_labels(spec(tmp_path / "root"), tmp_path / "cache") is None
    assert any(reason in note for note in open_images(spec(tmp_path / "root"), tmp_path / "cache").notes)


def test_limits_draw_the_same_images_and_labels(tmp_path: Path) -> None:
    put_classes(tmp_path / "root" / "train", 20)
    put_classes(tmp_path / "root" / "test", 10)
    wanted = spec(tmp_path / "root", max_train=25, max_test=7)
    sets = open_images(wanted, tmp_path / "cache")
    assert (len(sets.train), len(sets.test)) == (25, 7)
    assert len(set(seen_classes(sets.train))) == 3
    assert_aligned(wanted, tmp_path / "cache")


def test_a_few_bad_files_are_skipped_named_and_labels_stay_aligned(tmp_path: Path) -> None:
    put_classes(tmp_path / "root", 70)
    spoil(tmp_path / "root" / "blue" / "004.png")
    spoil(tmp_path / "root" / "green" / "050.png")
    wanted = spec(tmp_path / "root")
    sets = open_images(wanted, tmp_path / "cache")
    assert len(sets.train) + len(sets.test) == 208
    (note,) = (note for note in sets.notes if "skipped 2 files" in note)
    assert "blue/004.png (OSError" in note
    assert "green/050.png" in note
    assert_aligned(wanted, tmp_path / "cache")
    assert open_images(wanted, tmp_path / "cache").notes == sets.notes  # said again at every start


def test_many_bad_files_are_an_error_that_names_ten_and_lists_all(tmp_path: Path) -> None:
    put_classes(tmp_path / "root", 40)
    for i in range(12):
        spoil(tmp_path / "root" / "red" / f"{i:03}.png")
    with pytest.raises(UserError) as error:
        open_images(spec(tmp_path / "root"), tmp_path / "cache")
    assert "12 of 120" in str(error.value)
    assert "max_bad_share=0.01" in str(error.value)
    assert str(error.value).count("\n  red/") == 10
    assert "... and 2 more" in str(error.value)
    (listed,) = (tmp_path / "cache").glob("bad-*.txt")
    assert str(listed) in str(error.value)
    lines = [line.split("\t") for line in listed.read_text().splitlines()]
    assert sorted(path for path, _ in lines) == [f"red/{i:03}.png" for i in range(12)]
    assert all("OSError" in reason for _, reason in lines)


def test_as_many_bad_files_as_allowed_are_skipped_and_listed(tmp_path: Path) -> None:
    put_classes(tmp_path / "root", 40)
    for i in range(12):
        spoil(tmp_path / "root" / "red" / f"{i:03}.png")
    wanted = spec(tmp_path / "root", max_bad_share=0.1)
    sets = open_images(wanted, tmp_path / "cache")
    assert sorted(path for path, _ in sets.bad) == [f"red/{i:03}.png" for i in range(12)]
    assert any("skipped 12 files" in note and "... and 2 more" in note for note in sets.notes)
    assert_aligned(wanted, tmp_path / "cache")


@pytest.mark.parametrize("skipped_before", [False, True])
def test_the_first_bad_file_may_end_it(tmp_path: Path, skipped_before: bool) -> None:
    put_classes(tmp_path / "root" / "train", 70)
    put_classes(tmp_path / "root" / "test", 20)
    for name in ("green/050.png", "blue/004.png"):
        spoil(tmp_path / "root" / "train" / name)
    if skipped_before:
        open_images(spec(tmp_path / "root"), tmp_path / "cache")
    with pytest.raises(UserError, match=r"/root/train/blue/004\.png cannot be decoded: .*on_bad_image=skip"):
        open_images(spec(tmp_path / "root", on_bad_image="stop"), tmp_path / "cache")


def test_the_limit_of_pixels_is_an_option(tmp_path: Path) -> None:
    put_classes(tmp_path / "root", 70)
    Image.new("RGB", (100, 90)).save(tmp_path / "root" / "blue" / "large.png")
    for limit, bad in ((0.008, [("blue/large.png", "100 x 90 is more than max_megapixels=0.008")]), (0.009, [])):
        assert list(open_images(spec(tmp_path / "root", max_megapixels=limit), tmp_path / "cache").bad) == bad


def test_warnings_of_decoders_name_a_file_and_are_counted(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    put_classes(tmp_path / "root", 10)
    for number in (3, 4, 7):
        path = tmp_path / "root" / "green" / f"{number:03}.png"
        png = path.read_bytes()
        path.write_bytes(png[:33] + b"\0\0\0\1tEXtx\0\0\0\0" + png[33:])
    path = tmp_path / "root" / "red" / "000.tif"
    Image.new("RGB", (40, 36)).save(path, description="a description")
    tiff = path.read_bytes()
    at = tiff.index(b"\x0e\x01\x02\0")  # tag 270
    path.write_bytes(tiff[: at + 8] + b"\xff\xff\xff\0" + tiff[at + 12 :])
    for _ in range(2):
        notes = open_images(spec(tmp_path / "root"), tmp_path / "cache").notes
        (text,) = (note for note in notes if "tEXt" in note)
        assert text.startswith("3 images read with a warning: wrong checksum in the PNG chunk tEXt")
        assert "green/00" in text
        assert any("the TIFF tag 270" in note and "(red/000.tif)" in note for note in notes)
    assert not recwarn
    assert "Warning" not in capfd.readouterr().err


@pytest.mark.parametrize("files", [[], ["one.png"], ["a.txt", "b.heic"]])
def test_too_few_images(tmp_path: Path, files: list[str]) -> None:
    (tmp_path / "root").mkdir()
    for name in files:
        (tmp_path / "root" / name).write_bytes(b"x")
    with pytest.raises(UserError, match="images to train on"):
        open_images(spec(tmp_path / "root"), tmp_path / "cache")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder"):
        open_images(spec(tmp_path / "nowhere"), tmp_path / "cache")
    with pytest.raises(ConfigError, match="invalid value for data_dir: auto"):
        open_images(spec(None), tmp_path / "cache")


def test_a_changed_file_is_decoded_anew(tmp_path: Path) -> None:
    put_classes(tmp_path / "root", 4)
    before = open_images(spec(tmp_path / "root"), tmp_path / "cache")
    for name in COLOURS:
        for i in range(4):
            put(tmp_path / "root" / name / f"{i:03}.png", (1, 2, 3), 0)
    after = open_images(spec(tmp_path / "root"), tmp_path / "cache")
    assert (everything(after.train)[:, :, 0, 0] == (1, 2, 3)).all()
    assert after.train.fingerprint != before.train.fingerprint


def test_a_copy_of_the_folder_has_the_same_fingerprint(tmp_path: Path) -> None:
    put_classes(tmp_path / "root", 4)
    shutil.copytree(tmp_path / "root", tmp_path / "copy", copy_function=shutil.copyfile)
    one, two = (open_images(spec(tmp_path / name), tmp_path / "cache") for name in ("root", "copy"))
    assert one.train.fingerprint == two.train.fingerprint
    smaller = open_images(spec(tmp_path / "root", image_size=16), tmp_path / "cache")
    assert smaller.train.shape == (3, 16, 16)
    assert smaller.train.fingerprint != one.train.fingerprint


def test_streamed_images_are_the_cached_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_classes(tmp_path / "root", 8)
    stored = open_images(spec(tmp_path / "root"), tmp_path / "cache")
    usage = namedtuple("Usage", "total used free")(10, 10, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    streamed = open_images(spec(tmp_path / "root"), tmp_path / "other")
    assert any("lacks room" in note for note in streamed.notes)
    assert (everything(streamed.train) == everything(stored.train)).all()
    assert (everything(streamed.test) == everything(stored.test)).all()
    assert streamed.train.fingerprint == stored.train.fingerprint
    assert_aligned(spec(tmp_path / "root"), tmp_path / "other")


def test_a_file_that_vanishes_while_streaming_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_classes(tmp_path / "root", 2)
    usage = namedtuple("Usage", "total used free")(10, 10, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    sets = open_images(spec(tmp_path / "root"), tmp_path / "cache")
    shutil.rmtree(tmp_path / "root" / "red")
    with pytest.raises(UserError, match=r"red/00.\.png: No such file"):
        everything(sets.train), everything(sets.test)
