"""Our ResNets against torchvision's, and what the stem and the width change."""

import pytest
import torch
import torchvision
from torch import nn

from sslmlflow.encoders import EncoderSpec, build_encoder


def part_free(name: str) -> str:
    return name.removeprefix("early.").removeprefix("late.")


@pytest.fixture(scope="module")
def published() -> nn.Module:
    """torchvision's ResNet-18 with statistics of BatchNorm that are not the initial ones, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = torchvision.models.resnet18(weights=None)
        model(torch.randn(4, 3, 64, 64))
    return model.eval()


def test_resnet18_is_torchvisions_without_its_classifier(published: nn.Module) -> None:
    ours = build_encoder(EncoderSpec("resnet18", "imagenet", 64, 64), seed=0).eval()
    theirs = {name: tensor for name, tensor in published.state_dict().items() if not name.startswith("fc.")}
    assert [part_free(name) for name in ours.state_dict()] == list(theirs)
    shapes = [tensor.shape for tensor in ours.state_dict().values()]
    assert shapes == [tensor.shape for tensor in theirs.values()]

    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.values(), strict=True)))
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    seen: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        published.layer3.register_forward_hook(lambda module, given, out: seen.update(layer3=out))
        published.avgpool.register_forward_hook(lambda module, given, out: seen.update(last=out.flatten(1)))
        published(images)
        early, last = ours.embed(images)
    torch.testing.assert_close(last, seen["last"], rtol=0, atol=1e-5)
    torch.testing.assert_close(early, seen["layer3"].mean(dim=(2, 3)), rtol=0, atol=1e-5)


def test_weights_are_drawn_as_torchvision_draws_them(published: nn.Module) -> None:
    ours = build_encoder(EncoderSpec("resnet18", "imagenet", 64, 64), seed=0)
    theirs = dict(published.named_parameters())
    for name, weight in ours.named_parameters():
        other = theirs[part_free(name)]
        if weight.ndim == 4:
            assert weight.std().item() == pytest.approx(other.std().item(), rel=0.05), name
            assert abs(weight.mean().item()) < 0.05 * weight.std().item(), name
        else:
            assert torch.equal(weight, other), name


@pytest.mark.parametrize(
    ("name", "stem", "size", "early_shape", "last_width"),
    [
        ("resnet18", "cifar", 32, (256, 8, 8), 512),
        ("resnet50", "cifar", 32, (1024, 8, 8), 2048),
        ("resnet18", "imagenet", 32, (256, 2, 2), 512),
        ("resnet18", "imagenet", 96, (256, 6, 6), 512),
    ],
)
def test_the_cifar_stem_keeps_the_resolution(
    name: str, stem: str, size: int, early_shape: tuple[int, int, int], last_width: int
) -> None:
    encoder = build_encoder(EncoderSpec(name, stem, 64, size), seed=0).eval()
    images = torch.zeros(1, 3, size, size)
    with torch.no_grad():
        feature_map = encoder.early(images)
        early, last = encoder.embed(images)
    assert feature_map.shape == (1, *early_shape)
    assert early.shape == (1, encoder.early_width) == (1, early_shape[0])
    assert last.shape == (1, encoder.embedding_width) == (1, last_width)


@pytest.mark.parametrize("width", [4, 6, 8, 16])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_width_scales_every_layer(name: str, width: int) -> None:
    expansion = {"resnet18": 1, "resnet50": 4}[name]
    encoder = build_encoder(EncoderSpec(name, "cifar", width, 16), seed=0)
    assert (encoder.early_width, encoder.embedding_width) == (4 * width * expansion, 8 * width * expansion)
    assert encoder.early.conv1.out_channels == width


def test_embedding_is_what_the_encoder_gives() -> None:
    encoder = build_encoder(EncoderSpec("resnet18", "cifar", 4, 16), seed=0).eval()
    images = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        early, last = encoder.embed(images)
        torch.testing.assert_close(encoder(images), last)
        torch.testing.assert_close(early, encoder.early(images).flatten(2).mean(dim=2))
