"""Milestones whose files are not what they should be: one sentence, at once, and before anything large is built."""

import dataclasses
import json
import resource
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sslmlflow.config.options import option
from sslmlflow.encoders import EncoderSpec, build_encoder, check_pretrained
from sslmlflow.methods import METHODS, build_method
from sslmlflow.milestone.description import MilestoneFileError
from sslmlflow.milestone.milestone import load_method, read_milestone, write_milestone, write_untrained
from sslmlflow.milestone.reading import read_parts
from tests.methods.narrow import OPTIONS
from tests.tracking.test_logged_models import about, trained, write

ENCODER, METHOD, ABOUT = "encoder.safetensors", "method.safetensors", "milestone.json"
MEMORY = 2**29  # bytes beyond what the process has


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("milestone") / "epoch-7", trained())
    read_parts(folder)  # the first time, torch loads what it needs for layers without memory
    check_pretrained("timm/resnet18")  # and timm and torchvision are imported
    check_pretrained("densenet121")
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "milestone"))


@pytest.fixture
def little_memory() -> Iterator[None]:
    """What asks for much memory fails."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def refused(folder: Path) -> str:
    started = time.process_time()
    with pytest.raises(MilestoneFileError) as error:
        read_parts(folder)
    assert time.process_time() - started < 1
    assert "\n" not in str(error.value)
    return str(error.value)


FIELDS: list[tuple[str, Any, str]] = [
    ("format", 2, "it is of format 2, and this release reads 1"),
    ("format", "1", 'invalid value for format: "1" (must be 1)'),
    ("format", True, "invalid value for format: true"),
    ("epoch", "x", 'invalid value for epoch: "x" (must be a whole number of at least 0)'),
    ("epoch", -1, "invalid value for epoch: -1"),
    ("epoch", 1.5, "invalid value for epoch: 1.5"),
    ("epoch", None, "invalid value for epoch: null"),
    ("method", "simclear", 'invalid value for method: "simclear" (must be null, simclr, simsiam, moco-v2, byol, '),
    ("method", ["simclr"], "invalid value for method"),
    ("method", None, "invalid value for method: null"),
    ("method_options", {"temperature": 1}, "invalid value for method_options"),
    ("method_options", "temperature", "temperature has no value"),
    ("method_options", "temperature=-1", "temperature=-1"),
    ("method_options", "momentum=1", "momentum"),
    ("method_options", "hidden_width=24,projection_width=7", "projector.layers.3.weight is F32 (6, 24)"),
    ("method_options", f"hidden_width={10**9},projection_width={10**9}", METHOD),
    ("method_options", f"hidden_width={10**30}", ABOUT),
    ("trained", "yes", 'invalid value for trained: "yes" (must be true or false)'),
    ("trained", False, "invalid value for encoder.width: 4 (must be 64"),
    ("encoder", "resnet18", "invalid value for encoder"),
    ("encoder.name", 18, "invalid value for encoder.name: 18 (must be a text)"),
    ("encoder.name", "resnet19", "Did you mean resnet18?"),
    ("encoder.name", "two\nlines", "two\\nlines"),
    ("encoder.name", "\ud800", 'invalid value for encoder.name: "\\ud800"'),
    ("encoder.name", "resnet50", f"{ENCODER}: early.layer1.0.conv1.weight"),
    ("encoder.name", "vgg19", "cannot be the weights of a vgg19"),
    ("encoder.name", "regnet_y_128gf", "cannot be the weights of a regnet_y_128gf"),
    ("encoder.name", "timm/vit_giant_patch14_dinov2", 'encoder.options: "" (must be auto, or settings'),
    ("encoder.stem", "small", 'invalid value for encoder.stem: "small" (must be "cifar", "imagenet")'),
    ("encoder.stem", "imagenet", "early.conv1.weight is F32 (4, 3, 3, 3) (must be float32 (4, 3, 7, 7)"),
    ("encoder.width", 4096, "early.conv1.weight is F32 (4, 3, 3, 3) (must be float32 (4096, 3, 3, 3)"),
    ("encoder.width", 0, "invalid value for encoder.width: 0"),
    ("encoder.width", True, "invalid value for encoder.width: true"),
    ("encoder.width", 10**400, "invalid value for encoder.width"),
    ("encoder.image_size", 20000, "invalid value for encoder.image_size: 20000"),
    ("encoder.image_size", 17, "invalid value for encoder.image_size: 17 (must be 16, as preprocessing)"),
    ("encoder.early", "layer1", "invalid value for encoder.early"),
    ("encoder.early", "layer2", f"{ENCODER} holds a tensor early.layer3"),
    ("encoder.published", True, "invalid value for encoder.published: true"),
    ("encoder.published", 0, "invalid value for encoder.published: 0"),
    ("encoder.upscale", "no", "invalid value for encoder.upscale"),
    ("encoder.block", 0, "invalid value for encoder.block: 0"),
    ("encoder.depth", 3, 'encoder has no field "depth" in this release'),
    ("preprocessing.image_size", "16", "invalid value for preprocessing.image_size"),
    ("preprocessing.image_size", 20000, "invalid value for preprocessing.image_size: 20000"),
    ("preprocessing.channels", 4, "invalid value for preprocessing.channels: 4 (must be 1 or 3)"),
    ("preprocessing.channels", True, "invalid value for preprocessing.channels: true"),
    ("preprocessing.mean", [0.5], "invalid value for preprocessing.mean: [0.5] (must be three numbers"),
    ("preprocessing.mean", [10**400] * 3, "invalid value for preprocessing.mean: [1000"),
    ("preprocessing.mean", 0.5, "invalid value for preprocessing.mean: 0.5"),
    ("preprocessing.mean", [0.5, float("nan"), 0.5], "invalid value for preprocessing.mean"),
    (
        "preprocessing.std",
        [0.2, 0, 0.2],
        "invalid value for preprocessing.std: [0.2, 0, 0.2] (must be a list of",
    ),
    ("preprocessing.std", [0.2, -0.2, 0.2], "invalid value for preprocessing.std"),
    ("preprocessing.std", [0.2, float("inf"), 0.2], "invalid value for preprocessing.std"),
    ("preprocessing.std", [0.2] * 4, "invalid value for preprocessing.std"),
    ("preprocessing.std", ["0.2"] * 3, "invalid value for preprocessing.std"),
    ("preprocessing.bit_depth", 11, "invalid value for preprocessing.bit_depth: 11 (must be 8, 10, 12 or 16)"),
    ("preprocessing.gamma", 2.2, 'preprocessing has no field "gamma" in this release'),
    ("dataset", None, "invalid value for dataset"),
    ("dataset.train_fingerprint", 3, "invalid value for dataset.train_fingerprint: 3"),
    ("monitor.images", 0, "invalid value for monitor.images: 0"),
    ("monitor.eps", 0, "invalid value for monitor.eps: 0 (must be a number from 1e-300 to 1e+300)"),
    ("monitor.eps", "0.5", "invalid value for monitor.eps"),
    ("monitor.seed", -1, "invalid value for monitor.seed: -1"),
]


@pytest.mark.parametrize(
    ("field", "value", "expected"), FIELDS, ids=[f"{name}={value!r:.20}" for name, value, _ in FIELDS]
)
def test_a_field_with_another_value_is_named_with_what_is_allowed(
    folder: Path, little_memory: None, field: str, value: Any, expected: str
) -> None:
    described = json.loads((folder / ABOUT).read_text())
    *parts, name = field.split(".")
    place = described
    for part in parts:
        place = place[part]
    place[name] = value
    (folder / ABOUT).write_text(json.dumps(described))
    assert expected in refused(folder)


@pytest.mark.parametrize(
    "field",
    [
        *("format", "encoder", "epoch", "method", "method_options", "dataset", "preprocessing", "monitor"),
        *(f"encoder.{name}" for name in vars(EncoderSpec()) if name != "options"),
        *("preprocessing.image_size", "preprocessing.channels", "preprocessing.mean", "preprocessing.std"),
        *("dataset.train_fingerprint", "monitor.images", "monitor.eps", "monitor.seed"),
    ],
)
def test_a_missing_field_is_named(folder: Path, field: str) -> None:
    described = json.loads((folder / ABOUT).read_text())
    place, _, name = field.rpartition(".")
    del (described[place] if place else described)[name]
    (folder / ABOUT).write_text(json.dumps(described))
    assert f"{ABOUT}: {field} is missing" in refused(folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"format": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"[]", "holds [] (must be an object)"),
        (b" " * 2**21, "has 2097152 bytes (must be at most 1048576)"),
    ],
)
def test_a_description_that_is_none(folder: Path, text: bytes, expected: str) -> None:
    (folder / ABOUT).write_bytes(text)
    assert expected in refused(folder)


def _without(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name != "early.conv1.weight"}


def _with(name: str, value: Any) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    def change(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**tensors, name: value(tensors.get(name)) if callable(value) else value}

    return change


TENSORS: list[tuple[str, Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = [
    (ENCODER, _without, "lacks 1 tensors, early.conv1.weight for one"),
    (ENCODER, lambda tensors: {}, "lacks 120 tensors"),
    (ENCODER, _with("more", torch.zeros(2)), "holds a tensor more"),
    (ENCODER, _with("early.conv1.weight", torch.zeros(4, 3, 3)), "early.conv1.weight is F32 (4, 3, 3)"),
    (ENCODER, _with("early.conv1.weight", lambda t: t.half()), "early.conv1.weight is F16"),
    (ENCODER, _with("early.conv1.weight", lambda t: t * torch.nan), "early.conv1.weight holds NaN"),
    (ENCODER, _with("early.bn1.running_var", lambda t: t / 0), "early.bn1.running_var holds NaN or infinite numbers"),
    (METHOD, _with("projector.layers.0.weight", lambda t: t * torch.inf), "projector.layers.0.weight holds NaN"),
    (METHOD, _with("projector.layers.0.weight", torch.zeros(1)), "projector.layers.0.weight is F32 (1,)"),
    (METHOD, _with("encoder.early.conv1.weight", torch.zeros(4, 3, 3, 3)), "holds a tensor encoder.early.conv1.weight"),
]


@pytest.mark.parametrize(("file", "change", "expected"), TENSORS, ids=[expected for *_, expected in TENSORS])
def test_tensors_that_are_not_those_of_the_description(
    folder: Path, file: str, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], expected: str
) -> None:
    save_file(change(load_file(folder / file)), folder / file)
    assert f"{file}{': ' if ' is ' in expected or 'NaN' in expected else ' '}{expected}" in refused(folder)


def _header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


@pytest.mark.parametrize("file", [ENCODER, METHOD])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"half",
        _header(b"{}", 2**63),
        _header(b"{}", 2**40),
        _header(b"{}", 90_000_000),
        _header(b"[1]"),
        _header(b"\xff" * 20),
        _header(b'{"early.conv1.weight":{"dtype":"F32","shape":[99999999999,99999999999],"data_offsets":[0,4]}}')
        + b"0000",
        _header(b'{"early.conv1.weight":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}') + b"0000",
        _header(b'{"early.conv1.weight":{"dtype":"X","shape":[1],"data_offsets":[0,4]}}') + b"0000",
    ],
    ids=["empty", "short", "2**63", "2**40", "longer than the file", "a list", "no text", "overflow", "cut", "type"],
)
def test_files_that_are_not_of_safetensors(folder: Path, little_memory: None, file: str, content: bytes) -> None:
    (folder / file).write_bytes(content)
    assert f"{file} is not a file of safetensors: " in refused(folder)


def test_files_that_are_missing_or_too_many(folder: Path, tmp_path: Path) -> None:
    (folder / ENCODER).rename(tmp_path / "kept")
    assert refused(folder) == f"{ENCODER} is missing"
    untrained = tmp_path / "untrained"
    write_untrained(untrained, EncoderSpec(image_size=32), {**about(), "method": None, "method_options": None})
    described = json.loads((untrained / ABOUT).read_text())
    described["preprocessing"]["image_size"] = 32
    (untrained / ABOUT).write_text(json.dumps(described))
    assert read_parts(untrained).heads == {}
    (tmp_path / "kept").rename(untrained / ENCODER)
    assert refused(untrained) == f"it holds {ENCODER}, although trained is false in {ABOUT}"


def test_the_state_of_the_method_may_be_missing(folder: Path) -> None:
    (folder / METHOD).unlink()
    assert read_parts(folder).heads == {}


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "squeezenet1_1"])
def test_encoders_of_torchvision_come_back(tmp_path: Path, name: str) -> None:
    spec = EncoderSpec(name, image_size=64)
    method = build_method("simclr", "hidden_width=24,projection_width=6", build_encoder(spec, seed=1), seed=1)
    described = about()
    described["preprocessing"]["image_size"] = 64
    write_milestone(tmp_path / "m", method, spec, described)
    parts = read_parts(tmp_path / "m")
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(parts.encoder(images), method.encoder.eval()(images))


@pytest.mark.parametrize("is_tuned", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_the_whole_method_comes_back_and_the_encoder_that_is_measured(
    name: str, is_tuned: bool, tmp_path: Path
) -> None:
    spec = EncoderSpec("regnet_y_400mf" if name == "vicregl" else "mobilenet_v3_small", image_size=32)
    method = build_method(name, OPTIONS[name], build_encoder(spec, seed=3), seed=3)
    with torch.no_grad():
        next(method.encoder.parameters()).add_(1)  # apart from a teacher's
    if is_tuned:
        method.begin_tuning()
    with torch.no_grad():
        next(method.encoder.parameters()).add_(1)
    written = {**about("simclr"), "method": name, "method_options": OPTIONS[name], "tuned": is_tuned}
    written["preprocessing"]["image_size"] = 32
    write_milestone(tmp_path / "epoch-7", method, spec, written)
    milestone = read_milestone(tmp_path / "epoch-7")
    again = load_method(milestone)[0]
    assert all(torch.equal(tensor, again.state_dict()[key]) for key, tensor in method.state_dict().items())
    for encoder in (milestone.encoder, again.measured):
        theirs = encoder.state_dict()
        assert all(torch.equal(tensor, theirs[key]) for key, tensor in method.measured.state_dict().items())


def test_every_option_that_a_milestone_lacks_has_the_default_of_its_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A later release may change the defaults of today."""
    described = json.loads((folder / ABOUT).read_text())
    written = "temperature=0.5,hidden_width=24,projection_width=6"
    assert read_parts(folder).about["method_options"] == written
    later = dataclasses.make_dataclass(
        "Later",
        [
            ("temperature", float, option(0.07, "another default")),
            ("hidden_width", int, option(4096, "another default")),
            ("projection_width", int, option(256, "another default")),
        ],
        frozen=True,
    )
    monkeypatch.setitem(METHODS, "simclr", dataclasses.replace(METHODS["simclr"], options=later))
    assert read_parts(folder).about["method_options"] == written
    described["method_options"] = None
    (folder / ABOUT).write_text(json.dumps(described))
    (folder / METHOD).unlink()
    assert read_parts(folder).about["method_options"] == "temperature=0.5,hidden_width=2048,projection_width=128"
