"""Weights to begin with: from milestones, files and publications; what does not fit is refused by name."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sslmlflow.config.methods import method_options_text
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.encoders import EncoderSpec, build_encoder
from sslmlflow.encoders.pretrained import published_weights
from sslmlflow.errors import ConfigError, UserError
from sslmlflow.methods import build_method
from sslmlflow.runs.first_weights import FirstWeights, first_weights
from tests.tracking.test_logged_models import trained, write

SPEC = EncoderSpec(width=4, image_size=16)
SMALL = "hidden_width=24,projection_width=6"


def started(start: str | Path, spec: EncoderSpec = SPEC, method: str = "simclr", options: str = SMALL) -> FirstWeights:
    found = first_weights(Pretrain(method=method, start=str(start)), method_options_text(method, options), spec)
    assert found is not None
    return found


def encoder(seed: int = 5, spec: EncoderSpec = SPEC) -> nn.Module:
    return build_encoder(spec, seed)


def saved(path: Path, tensors: dict[str, Tensor]) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_without_them_weights_are_drawn() -> None:
    assert first_weights(Pretrain(), "", SPEC) is None


NAMES: dict[str, Callable[[str], str]] = {
    "ours": str,
    "a method's": lambda name: f"encoder.{name}",
    "torchvision's": lambda name: re.sub("^(early|late)\\.", "", name),
}


@pytest.mark.parametrize("whose", NAMES)
def test_a_file_of_an_encoder_fits_by_several_names(whose: str, tmp_path: Path) -> None:
    theirs = encoder().state_dict()
    tensors = {NAMES[whose](name): tensor for name, tensor in theirs.items()}
    tensors |= {"fc.weight": torch.zeros(10, 32), "fc.bias": torch.zeros(10)}  # a classifier is left out
    first = started(saved(tmp_path / "weights.safetensors", tensors))
    built = encoder(seed=1)
    first.put_into_encoder(built)
    assert equal(built.state_dict(), theirs)
    assert first.holds == "encoder"


def test_a_milestone_of_the_same_method_gives_its_heads_and_that_of_another_its_encoder(tmp_path: Path) -> None:
    method = trained()
    folder = write(tmp_path / "epoch-7", method)
    first = started(folder)
    built = build_encoder(SPEC, seed=1)
    first.put_into_encoder(built)
    again = build_method("simclr", SMALL, built, seed=2)
    assert not equal(again.state_dict(), method.state_dict())
    first.put_into_method(again)
    assert equal(again.state_dict(), method.state_dict())
    assert first.holds == "encoder and heads"
    assert started(folder, options=f"{SMALL},temperature=0.1").holds == "encoder and heads"
    for other in (started(folder, options="hidden_width=24,projection_width=7"), started(folder, method="byol")):
        assert other.holds == "encoder"
        other.put_into_encoder(built := build_encoder(SPEC, seed=1))
        assert equal(built.state_dict(), method.encoder.state_dict())
        assert other.digest != first.digest


def test_a_teacher_begins_with_the_same_weights(tmp_path: Path) -> None:
    first = started(saved(tmp_path / "weights.safetensors", encoder().state_dict()), method="dino", options="")
    built = build_encoder(SPEC, seed=1)
    first.put_into_encoder(built)
    assert equal(build_method("dino", "prototypes=8", built, seed=2).measured.state_dict(), encoder().state_dict())


WIDER = EncoderSpec(width=8, image_size=16)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (
            encoder(spec=WIDER).state_dict(),
            r"conv1.weight is \(8, 3, 3, 3\), and that of resnet18 of width 4 .* --width",
        ),
        (dict(list(encoder().state_dict().items())[:61]), r"lacks 59 of the 120 tensors of resnet18 of width 4"),
        ({**encoder().state_dict(), "late.extra": torch.zeros(1)}, "has no tensor extra"),
        ({name: of * float("nan") if of.ndim == 4 else of for name, of in encoder().state_dict().items()}, "NaN"),
    ],
)
def test_weights_of_another_encoder_are_refused_before_training(
    tensors: dict[str, Tensor], said: str, tmp_path: Path
) -> None:
    path = saved(tmp_path / "weights.safetensors", tensors)
    with pytest.raises(UserError, match=f"start={path}.*{said}|{said}"):
        started(path)


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.safetensors"
    spoilt.write_bytes(b"not weights")
    for start, said in (
        (tmp_path, "invalid value for start: .*must be none, the model id"),
        ("model.pth", "invalid value for start: .*must be none, the model id"),
        (tmp_path / "none.safetensors", "cannot be read"),
        (spoilt, "cannot be read as safetensors"),
    ):
        with pytest.raises(UserError, match=said):
            started(start)
    both = Pretrain(start="m-1", init="imagenet")
    with pytest.raises(ConfigError, match="invalid values for start and init: m-1 and imagenet"):
        first_weights(both, "", SPEC)


def test_published_weights_of_a_resnet_fit_its_published_width_and_stem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    published = resnet18(weights=None).state_dict()
    file = tmp_path / "hub" / "checkpoints" / published_weights("resnet18").url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save(published, file)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    spec = EncoderSpec(stem="imagenet", image_size=64)
    for init in ("imagenet", "ResNet18_Weights.IMAGENET1K_V1"):
        first = first_weights(Pretrain(init=init), "", spec)
        assert first is not None
        assert torch.equal(first.encoder["early.conv1.weight"], published["conv1.weight"])
    for spec, said in ((EncoderSpec(), "--stem"), (EncoderSpec(stem="imagenet", width=8, image_size=64), "--width")):
        with pytest.raises(ConfigError, match=f"init=imagenet does not fit: .*{said}"):
            first_weights(Pretrain(init="imagenet"), "", spec)
    with pytest.raises(ConfigError, match=r"init: V3 \(must be random, imagenet, ResNet18_Weights\.IMAGENET1K_V1"):
        first_weights(Pretrain(init="V3"), "", spec)
