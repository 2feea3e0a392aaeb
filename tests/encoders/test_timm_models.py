"""Models of timm: what they compute is what timm computes, with weights of our own in the place of published ones."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from sslmlflow.encoders import EncoderSpec, build_encoder, check_pretrained, published
from sslmlflow.errors import ConfigError, UserError

SIZE = 64
# Name, early layer and whether it keeps channels last.
FAMILIES = [
    ("test_resnet", "layer3", False),
    ("test_convnext", "stages.2", False),
    ("test_efficientnet", "blocks.3", False),
    ("test_vit", "blocks.3", False),
    ("swin_tiny_patch4_window7_224", "layers.2", True),
]


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the Hugging Face Hub of the test's own, and no access."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path


def place(hub: Path, name: str, seed: int) -> nn.Module:
    """Put weights drawn here where the hub's would be; the model that has them."""
    torch.manual_seed(seed)
    model: nn.Module = timm.create_model(name).eval()
    folder = hub / ("models--" + published(f"timm/{name}").weights.replace("/", "--"))
    for part, text in (("refs/main", "0" * 40), (f"snapshots/{'0' * 40}/readme", "")):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).write_text(text)
    save_file(model.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")
    return model


@pytest.mark.parametrize(("name", "early", "channels_last"), FAMILIES)
def test_embeddings_are_those_of_timms_model(name: str, early: str, channels_last: bool) -> None:
    encoder = build_encoder(EncoderSpec(f"timm/{name}", image_size=SIZE), seed=3).eval()
    sized = {"img_size": SIZE} if timm.get_pretrained_cfg(name).fixed_input_size else {}
    torch.manual_seed(3)
    model = timm.create_model(name, num_classes=0, **sized).eval()
    images = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(4))
    heard: list[torch.Tensor] = []
    model.get_submodule(early).register_forward_hook(lambda layer, given, output: heard.append(output))
    with torch.no_grad():
        at_early, last = encoder.embed(images)
        assert torch.equal(last, model(images))
        assert torch.equal(encoder(images), last)
    layer = heard[0].permute(0, 3, 1, 2) if channels_last else heard[0]
    pooled = layer.mean(dim=1) if layer.ndim == 3 else layer.mean(dim=(2, 3))
    assert torch.equal(at_early, pooled)
    assert (at_early.shape[1], last.shape[1]) == (encoder.early_width, encoder.embedding_width)


def test_published_weights_come_from_the_cache_and_images_are_scaled(hub: Path) -> None:
    model = place(hub, "test_resnet", seed=5)
    spec = EncoderSpec("timm/test_resnet", image_size=SIZE, published=True, upscale=True)
    encoder = build_encoder(spec, seed=0).eval()
    small = torch.randn(2, 3, 32, 32)
    larger = nn.functional.interpolate(small, (SIZE, SIZE), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(larger), pre_logits=True)  # type: ignore[operator]
        torch.testing.assert_close(encoder(small), expected)


def test_the_positions_of_a_transformer_are_fitted_to_the_size(hub: Path) -> None:
    place(hub, "test_vit", seed=5)
    assert published("timm/test_vit").image_size == 160
    spec = EncoderSpec("timm/test_vit", image_size=SIZE, published=True, upscale=True)
    encoder = build_encoder(spec, seed=0)
    assert encoder(torch.randn(2, 3, 32, 32)).shape == (2, encoder.embedding_width)


def test_weights_that_cannot_be_had_are_told() -> None:
    wanted = r"weights of timm/test_resnet \(model.safetensors of timm/test_resnet.r160_in1k on .*HF_HOME/hub"
    with pytest.raises(UserError, match=wanted):
        build_encoder(EncoderSpec("timm/test_resnet", image_size=SIZE, published=True), seed=0)
    with pytest.raises(UserError, match="No pretrained weights exist for mixer_s32_224"):
        build_encoder(EncoderSpec("timm/mixer_s32_224", image_size=224, published=True), seed=0)


def test_names_that_timm_does_not_have_are_refused() -> None:
    for name in ("timm/test_resnet", "timm/resnet18.a1_in1k", "resnet18"):
        check_pretrained(name)
    for name, said in [
        ("timm/resnet19", "timm/resnet19 is not a model of timm. Did you mean timm/resnet18"),
        ("timm/hf-hub:someone/anything", "is not a model of timm"),
        ("timm/local-dir:/tmp/anything", "is not a model of timm"),
        ("timm/resnet18.a9_in1k", "resnet18 has no weights a9_in1k in timm. Allowed: a1_in1k, "),
        ("resnet19", "resnet19 is not a model of torchvision"),
    ]:
        with pytest.raises(ConfigError, match=said):
            check_pretrained(name)
    with pytest.raises(ConfigError, match="timm/test_vit cannot be used with 70 px images"):
        build_encoder(EncoderSpec("timm/test_vit", image_size=70), seed=0)
