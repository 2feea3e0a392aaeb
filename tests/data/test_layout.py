"""The parts of a split and the classes, from the names of folders."""

from pathlib import Path

import numpy as np
import pytest

from sslmlflow.data import open_images
from sslmlflow.data.layout import Layout, counts_note, find_layout, role
from sslmlflow.data.scan import ImageFile
from sslmlflow.texts import folder_name
from tests.data.test_folder import assert_aligned, everything, put, put_classes, spec

COLOURED = ("blue", "green", "red")


def touch(root: Path, *names: str) -> None:
    """Files that are images by their name: nothing here is decoded."""
    for name in names:
        path = root / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def in_parts(layout: Layout) -> list[set[str]]:
    return [{file.parts[0] for file in side} for side in layout.sides]


def told(layout: Layout) -> str:
    return "\n".join(layout.notes)


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        *(("train", name) for name in ("test", "Testing", "eval", "Evaluation", "holdout", "held-out", "test_images")),
        *(("Train", name) for name in ("val", "valid", "VALIDATION", "dev", "HELD_OUT")),
        ("TRAINING", "Test"),
        ("training_set", "test_set"),
        ("train2017", "val2017"),
    ],
)
def test_a_split_is_known_by_its_usual_names(tmp_path: Path, train: str, held_out: str) -> None:
    touch(tmp_path, f"{train}/cat/1", f"{train}/dog/2", f"{held_out}/cat/3", f"{held_out}/dog/4")
    layout = find_layout(spec(tmp_path))
    assert in_parts(layout) == [{train}, {held_out}]
    assert layout.classes == ("cat", "dog")
    assert f"trained on {train}/, held out: {held_out}/" in told(layout)


@pytest.mark.parametrize(
    "name", ["cats", "trains", "trainer", "contest", "latest", "valley", "devil", "1", "images", "données"]
)
def test_other_names_are_classes(name: str) -> None:
    assert role(name) is None


def test_with_three_parts_one_is_monitored_and_one_is_scored(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for part, count in (("Train", 6), ("valid", 3), ("TEST", 2)):
        put_classes(root / part, count)
    put(root / "valid" / "yellow" / "x.png", (255, 255, 0))  # a class that the others lack
    put(root / "elsewhere" / "x.png")
    sets = open_images(spec(root), tmp_path / "cache")
    assert sets.monitored is sets.validation
    assert (len(sets.train), len(sets.test), len(sets.monitored)) == (18, 6, 10)
    assert "trained on Train/, probes scored on TEST/, label-free metrics monitored on valid/" in sets.notes
    assert "left out 1 image that lies neither in Train/ nor in TEST/ nor in valid/" in sets.notes
    assert any("blue 6 + 2 + 3, green 6 + 2 + 3, red 6 + 2 + 3, yellow 0 + 0 + 1" in note for note in sets.notes)
    assert_aligned(spec(root), tmp_path / "cache")
    limited = open_images(spec(root, max_test=4), tmp_path / "cache")
    assert (len(limited.test), len(limited.monitored)) == (4, 4)


def test_a_monitored_part_changes_no_other_digest(tmp_path: Path) -> None:
    put_classes(tmp_path / "root" / "train", 4)
    put_classes(tmp_path / "root" / "test", 2)
    before = open_images(spec(tmp_path / "root"), tmp_path / "cache")
    assert before.monitored is before.test
    put_classes(tmp_path / "root" / "val", 3)
    after = open_images(spec(tmp_path / "root"), tmp_path / "cache")
    assert (everything(before.test) == everything(after.test)).all()
    monitored = after.fingerprints.pop("monitored images")
    assert before.fingerprints.items() <= after.fingerprints.items()
    assert monitored not in before.fingerprints.values()


@pytest.mark.parametrize(
    ("folders", "used", "note"),
    [
        (("train", "Train", "test"), ("train", "test"), "not Train/"),
        (("training", "train", "test"), ("train", "test"), "not training/"),
        (("train", "Val", "valid"), ("train", "Val"), "not valid/"),
        (("train", "Test", "eval", "val"), ("train", "Test", "val"), "not eval/"),
        (("train", "eval", "dev"), ("train", "eval", "dev"), "monitored on dev/"),
        (("train", "test", "cat"), ("train", "test"), "neither in train/ nor in test/"),
    ],
)
def test_of_two_folders_for_one_part_the_usual_name_is_used(
    tmp_path: Path, folders: tuple[str, ...], used: tuple[str, ...], note: str
) -> None:
    touch(tmp_path, *(f"{name}/{label}/1" for name in folders for label in "ab"))
    layout = find_layout(spec(tmp_path))
    assert in_parts(layout) == [{name} for name in used]
    assert note in told(layout)


@pytest.mark.parametrize(
    ("names", "classes", "note"),
    [
        (["cats/1", "dogs/2", "test/3"], ("cats", "dogs", "test"), "needs train/ and test/ or val/ in data_dir: test/"),
        (["bus/1", "car/2", "train/3"], ("bus", "car", "train"), "in data_dir: train/"),
        (["train/a/1", "train/b/2"], ("a", "b"), "there is only train/"),
        (["val/a/1", "val/b/2", "test/a/3", "test/b/4"], ("a", "b"), "there is only test/, val/"),
        (["a/train/1", "a/test/2", "b/train/3", "b/test/4"], ("a", "b"), "not used as a split, as they do not lie"),
        (["data/train/1", "data/valid/2"], (), "data_dir: data/train/, data/valid/"),
    ],
)
def test_folders_that_are_no_split(tmp_path: Path, names: list[str], classes: tuple[str, ...], note: str) -> None:
    touch(tmp_path, *names)
    layout = find_layout(spec(tmp_path))
    assert sum(map(len, layout.sides)) == len(names)
    assert layout.drawn
    assert layout.classes == classes
    assert note in told(layout)


def test_classes_are_printed_with_their_counts(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for number in range(10):
        put(root / "images" / f"{number}.png", value=number)
        put(root / "masks" / f"{number}.png", (255, 255, 255), number)
    (note,) = (note for note in open_images(spec(root), tmp_path / "cache").notes if "classes" in note)
    assert note == "2 classes (training + held-out images): images 9 + 1, masks 9 + 1"
    put(root / "stray.png")
    notes = open_images(spec(root), tmp_path / "cache").notes
    assert any(note.startswith("2 folders (training + held-out images): images") for note in notes)
    assert any("in no folder" in note for note in notes)


def test_a_long_list_of_classes_is_cut_and_its_extremes_are_named() -> None:
    names = [f"{number:03}" for number in range(99)] + ["bad\nname"]
    files = [ImageFile((name, str(i)), 1, 1) for name in names for i in range(5)]
    files += [ImageFile(("042", "x"), 1, 1)]
    files.remove(ImageFile(("bad\nname", "0"), 1, 1))
    layout = Layout((files, files[:5]), tuple(names), 0, True, ())
    (note,) = counts_note(layout, layout.sides, "auto")
    assert "100 classes" in note
    assert note.endswith(r"011 5 + 0 and 88 more; smallest: bad\nname 4 + 0, largest: 000 5 + 5")


def test_without_identical_images_the_draw_is_that_of_earlier_builds(tmp_path: Path) -> None:
    put_classes(tmp_path / "root", 10)
    sets = open_images(spec(tmp_path / "root", seed=3), tmp_path / "cache")
    held_out = np.random.default_rng([3, 0]).permutation(30)[:3]
    paths = sorted(file.parts for side in find_layout(spec(tmp_path / "root")).sides for file in side)
    shown = [(COLOURED.index(paths[row][0]), int(paths[row][1][:3])) for row in sorted(held_out)]
    pixels = everything(sets.test)[:, :, 0, 0].astype(int)
    seen = [(2 - int(pixel.argmax()), 255 - int(pixel.max())) for pixel in pixels]
    assert seen == shown


@pytest.mark.parametrize(
    ("folder", "name"),
    [("/data/flowers", "flowers"), ("/data/x/..", "data"), ("/", "folder"), ("/a/two\nlines/", r"two\nlines")],
)
def test_a_folder_is_named_by_the_last_part_of_its_path(folder: str, name: str) -> None:
    assert folder_name(folder) == name
