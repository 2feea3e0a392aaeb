"""Encoders by name: seeds, names, and the split of every family of torchvision's models."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from sslmlflow.encoders import Encoder, EncoderSpec, build_encoder, check_encoder, check_views
from sslmlflow.errors import ConfigError

SIZE = 64
QUICK = ["squeezenet1_1"]
SLOW = [
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mnasnet0_5", "mobilenet_v2"),
    *("mobilenet_v3_small", "regnet_y_400mf", "swin_t", "resnet34", "shufflenet_v2_x0_5", "vgg11_bn", "vit_b_16"),
]


def torchvisions(name: str, seed: int) -> nn.Module:
    keywords = {"vit_b_16": {"image_size": SIZE}, "googlenet": {"aux_logits": False, "init_weights": True}}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return torchvision.models.get_model(name, weights=None, **keywords.get(name, {})).eval()


def what_the_classifier_is_given(model: nn.Module, images: Tensor) -> tuple[nn.Module, Tensor]:
    """The last linear or convolutional layer of `model`, and its input averaged over space."""
    classifier = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    seen = []
    handle = classifier.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    with torch.no_grad():
        model(images)
    handle.remove()
    return classifier, seen[0] if seen[0].ndim == 2 else seen[0].mean(dim=(2, 3))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_the_two_parts_make_up_torchvisions_model_without_its_classifier(name: str) -> None:
    encoder = build_encoder(EncoderSpec(name, image_size=SIZE), seed=3)
    assert encoder.training
    encoder.eval()
    whole = torchvisions(name, seed=3)
    images = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(4))
    classifier, expected = what_the_classifier_is_given(whole, images)
    with torch.no_grad():
        feature_map = encoder.early(images)
        together = encoder.late(feature_map)
        early, last = encoder.embed(images)
    # Before training some models' embeddings are as small as 1e-5.
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-4 * expected.abs().max().item())
    torch.testing.assert_close(last, together)
    assert count(encoder) == count(whole) - count(classifier)
    assert 0 < count(encoder.early) < count(encoder)
    assert (early.shape[1], last.shape[1]) == (encoder.early_width, encoder.embedding_width)
    assert early.shape != last.shape or not torch.equal(early, last), "the early layer is the last one"


@pytest.mark.parametrize("name", ["squeezenet1_1"])
def test_a_gradient_reaches_every_parameter_of_a_split_model(name: str) -> None:
    encoder = build_encoder(EncoderSpec(name, image_size=SIZE), seed=0)
    encoder(torch.randn(4, 3, SIZE, SIZE)).square().sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


def weights(encoder: Encoder) -> list[Tensor]:
    return list(encoder.state_dict().values())


@pytest.mark.parametrize(
    "spec", [EncoderSpec("resnet18", "cifar", 4, 16), EncoderSpec("squeezenet1_1", image_size=SIZE)]
)
def test_the_seed_and_nothing_else_decides_the_weights(spec: EncoderSpec) -> None:
    torch.manual_seed(11)
    first = build_encoder(spec, seed=5)
    torch.manual_seed(12)
    state = torch.random.get_rng_state()
    again, other = build_encoder(spec, seed=5), build_encoder(spec, seed=6)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(again), strict=True))
    matrices = [(a, b) for a, b in zip(weights(first), weights(other), strict=True) if a.ndim > 1]
    assert matrices
    assert not any(torch.equal(a, b) for a, b in matrices)


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("resnet81", "resnet18"), ("resnet_50", "resnet50"), ("efficientnet-b0", "efficientnet_b0")],
)
def test_an_unknown_name_is_answered_with_the_nearest(name: str, suggestion: str) -> None:
    with pytest.raises(ConfigError, match=f"invalid value for encoder: {name} .* Did you mean {suggestion}") as refused:
        check_encoder(name)
    assert "(must be resnet18, resnet50" in str(refused.value)
    with pytest.raises(ConfigError, match=f"{name} is not a model of torchvision. Did you mean {suggestion}"):
        build_encoder(EncoderSpec(name), seed=0)


@pytest.mark.parametrize("name", ["fasterrcnn_resnet50_fpn", "lraspp_mobilenet_v3_large", "raft_small", ""])
def test_a_model_that_is_no_classifier_is_unknown(name: str) -> None:
    with pytest.raises(ConfigError, match="invalid value for encoder"):
        check_encoder(name)


@pytest.mark.parametrize(
    ("name", "size"), [("inception_v3", 64), pytest.param("vit_b_32", 40, marks=pytest.mark.slow), ("alexnet", 16)]
)
def test_a_model_that_does_not_take_the_size_is_refused(name: str, size: int) -> None:
    with pytest.raises(ConfigError, match=f"encoder={name} cannot be used with {size} px images") as refused:
        build_encoder(EncoderSpec(name, image_size=size), seed=0)
    assert "Give another image_size or encoder" in str(refused.value)


def test_a_transformer_of_torchvision_takes_no_small_views() -> None:
    spec = EncoderSpec("vit_b_32", image_size=64)
    check_views(spec, [64])
    with pytest.raises(ConfigError, match=r"small views are of 32 px \(must be 64 px for vit_b_32"):
        check_views(spec, [64, 32])
    check_views(EncoderSpec("squeezenet1_1", image_size=64), [64, 32])
