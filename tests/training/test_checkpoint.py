"""Checkpoints on a real disk: whatever happens to the newest, a good one is loaded."""

import json
import os
import shutil
import struct
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sslmlflow.errors import UserError
from sslmlflow.files import write_atomically
from sslmlflow.training.checkpoint import load_checkpoint, save_checkpoint


def some_tensors(value: float = 1.0) -> dict[str, Tensor]:
    return {
        "weight": torch.full((4, 3, 2, 2), value).to(memory_format=torch.channels_last),
        "bits": torch.tensor([0.1, -0.0, 1e-45, 3e38]),
        "half": torch.tensor([0.5, value], dtype=torch.bfloat16),
        "count": torch.tensor(2**40),
        "empty": torch.zeros(0, 3),
    }


def save(folder: Path, step: int) -> Path:
    """Save a checkpoint whose tensors tell its step, and return its file."""
    save_checkpoint(folder, step, some_tensors(step), {"note": f"of {step}"})
    return max(folder.glob("*.safetensors"))


def loaded_step(folder: Path) -> int | None:
    checkpoint = load_checkpoint(folder)
    if checkpoint is None:
        return None
    assert checkpoint.tensors["weight"].unique().tolist() == [float(checkpoint.step)]
    assert checkpoint.info == {"note": f"of {checkpoint.step}"}
    return checkpoint.step


def test_what_was_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    tensors = some_tensors()
    info = {"environment": {"threads": 2}, "list": [1.5, None, "é"]}
    save_checkpoint(tmp_path / "new" / "folder", 17, tensors, info)
    loaded = load_checkpoint(tmp_path / "new" / "folder")
    assert loaded is not None
    assert loaded.step == 17
    assert loaded.info == info
    assert set(loaded.tensors) == set(tensors)
    for name, tensor in tensors.items():
        assert loaded.tensors[name].dtype == tensor.dtype
        assert loaded.tensors[name].shape == tensor.shape
        assert torch.equal(loaded.tensors[name], tensor)
    assert torch.signbit(loaded.tensors["bits"]).tolist() == [False, True, False, False]


def test_what_is_trained_on_after_saving_does_not_reach_the_checkpoint(tmp_path: Path) -> None:
    weight = torch.ones(3, requires_grad=True)
    save_checkpoint(tmp_path, 1, {"weight": weight}, {})
    with torch.no_grad():
        weight += 1
    loaded = load_checkpoint(tmp_path)
    assert loaded is not None
    assert loaded.tensors["weight"].tolist() == [1, 1, 1]


def test_there_is_none_in_a_folder_that_is_empty_or_not_there(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    assert load_checkpoint(tmp_path / "nowhere") is None


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    # Sorted as numbers, not as words: 10 comes after 9.
    for step in (1, 9, 10, 11, 100_000_000):
        save(tmp_path, step)
        assert loaded_step(tmp_path) == step
    assert len(list(tmp_path.iterdir())) == 2


def test_saving_a_step_again_loses_nothing(tmp_path: Path) -> None:
    for step in (1, 2, 2, 2):
        save(tmp_path, step)
    assert loaded_step(tmp_path) == 2


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


SPOILT: dict[str, Callable[[Path], object]] = {
    "a bit of the last byte flipped": lambda path: flip(path, -1),
    "a bit in the middle flipped": lambda path: flip(path, path.stat().st_size // 2),
    "a bit of the header flipped": lambda path: flip(path, 0),
    "cut in the middle": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut by one byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "empty": lambda path: os.truncate(path, 0),
    "longer by one byte": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "gone": lambda path: path.unlink(),
    "under a name without checksum": lambda path: path.rename(path.with_name("step-0000000002.safetensors")),
}


@pytest.mark.parametrize("how", SPOILT)
def test_of_a_spoilt_checkpoint_the_one_before_is_taken(how: str, tmp_path: Path) -> None:
    save(tmp_path, 1)
    SPOILT[how](save(tmp_path, 2))
    assert loaded_step(tmp_path) == 1
    save(tmp_path, 3)
    assert loaded_step(tmp_path) == 3


def test_if_all_are_spoilt_there_is_none_and_they_stand_in_nobodys_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (100, 200):
        flip(save(tmp_path, step), -1)
    assert load_checkpoint(tmp_path) is None
    assert capsys.readouterr().err.count("is not as it was written") == 2
    for step in (1, 2, 3):
        save(tmp_path, step)
        assert loaded_step(tmp_path) == step
    assert len(list(tmp_path.glob("*.spoilt"))) == 2
    assert len(list(tmp_path.iterdir())) == 4


def test_what_a_kill_left_half_written_is_swept(tmp_path: Path) -> None:
    file = save(tmp_path, 1)
    (tmp_path / "step-0000000002.0123.safetensors.77.part").write_bytes(b"half")
    assert loaded_step(tmp_path) == 1
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused_and_the_previous_one_stays(bad: float, tmp_path: Path) -> None:
    save(tmp_path, 1)
    with pytest.raises(UserError, match=r"method\.weight holds numbers that are not finite after step 2"):
        save_checkpoint(tmp_path, 2, {"count": torch.tensor(1), "method.weight": torch.tensor([0.0, bad])}, {})
    assert loaded_step(tmp_path) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_told_and_the_previous_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 1)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**9, 10**9 - 300, 300))
    with pytest.raises(UserError, match=r"are free in .*--resume=auto"):
        save(tmp_path, 2)
    assert loaded_step(tmp_path) == 1
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.undo()
    save(tmp_path, 2)
    assert loaded_step(tmp_path) == 2


def test_the_file_is_safetensors_and_no_pickle(tmp_path: Path) -> None:
    data = save(tmp_path, 5).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    assert header.pop("__metadata__") == {"info": '{"note": "of 5", "step": 5}'}
    assert set(header) == set(some_tensors())
    assert 8 + length + max(about["data_offsets"][1] for about in header.values()) == len(data)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"first")
    write_atomically(path, b"second, and longer")
    assert path.read_bytes() == b"second, and longer"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*nowhere"):
        write_atomically(tmp_path / "nowhere" / "file", b"data")
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot write .*folder"):
        write_atomically(tmp_path / "folder", b"data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]
