"""The scanner finds each image once, whatever the shape of the folder."""

import os
from pathlib import Path

import pytest
from PIL import Image

from sslmlflow.data.scan import scan
from sslmlflow.errors import UserError


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def names(root: Path) -> list[str]:
    return ["/".join(file.parts) for file in scan(root).files]


def test_flat_and_nested_and_sorted(tmp_path: Path) -> None:
    put(tmp_path, "b.png", "a.JPG", "deep/er/still/c.tiff", "deep/a.jpeg", "B.webp")
    assert names(tmp_path) == ["B.webp", "a.JPG", "b.png", "deep/a.jpeg", "deep/er/still/c.tiff"]


def test_hidden_names_are_left_out_and_counted(tmp_path: Path) -> None:
    put(tmp_path, "a.png", ".hidden.png", "._a.png", ".ipynb_checkpoints/a.png", "c/.DS_Store")
    found = scan(tmp_path)
    assert names(tmp_path) == ["a.png"]
    assert any("4 hidden" in note for note in found.notes())


def test_a_hidden_root_is_allowed(tmp_path: Path) -> None:
    put(tmp_path / ".data", "a.png")
    assert names(tmp_path / ".data") == ["a.png"]


def test_loops_of_links_end(tmp_path: Path) -> None:
    put(tmp_path, "cats/a.png", "dogs/b.png")
    (tmp_path / "cats" / "loop").symlink_to(tmp_path)
    (tmp_path / "aaa").symlink_to(tmp_path / "dogs")
    assert names(tmp_path) == ["cats/a.png", "dogs/b.png"]


def test_further_names_of_a_file_do_not_count(tmp_path: Path) -> None:
    put(tmp_path, "m.png")
    (tmp_path / "a.png").symlink_to(tmp_path / "m.png")
    os.link(tmp_path / "m.png", tmp_path / "z.png")
    found = scan(tmp_path)
    assert names(tmp_path) == ["m.png"]
    assert any("2 further names" in note for note in found.notes())


def test_links_out_of_the_folder_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "store", "1.png", "more/2.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "one.png").symlink_to(tmp_path / "store" / "1.png")
    (tmp_path / "root" / "rest").symlink_to(tmp_path / "store" / "more")
    assert names(tmp_path / "root") == ["one.png", "rest/2.png"]


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.heic", "c.heic", "d.txt", "README")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    told = "\n".join(scan(tmp_path).notes())
    assert names(tmp_path) == ["a.png"]
    assert "2 .heic" in told
    assert "1 .txt" in told
    assert "1 without extension" in told
    assert "gone.png (No such file" in told


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\xfe.png"
    with open(path, "wb") as file:
        file.write(b"x")
    assert [os.fsencode(file.parts[0]) for file in scan(tmp_path).files] == [b"\xff\xfe.png"]


def test_a_change_of_a_file_shows(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (4, 4)).save(path)
    before = scan(tmp_path).files
    assert scan(tmp_path).files == before
    os.utime(path, ns=(0, 5))
    assert scan(tmp_path).files != before


def test_no_folder(tmp_path: Path) -> None:
    put(tmp_path, "file.png")
    for path in (tmp_path / "nowhere", tmp_path / "file.png"):
        with pytest.raises(UserError, match="not a folder"):
            scan(path)
