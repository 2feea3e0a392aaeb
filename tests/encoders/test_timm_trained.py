"""Architectures of timm that are trained: in two parts that make up the whole, for small images and small views."""

from pathlib import Path

import pytest
import timm
import torch

from sslmlflow.encoders import EncoderSpec, build_encoder, check_encoder, check_views, published_tensors
from sslmlflow.errors import ConfigError, UserError
from sslmlflow.methods import Progress, build_method
from sslmlflow.methods.momentum import Momentum
from sslmlflow.training.batch_norm import synchronise
from sslmlflow.training.device import Machine
from sslmlflow.training.optimisers import Optimising
from sslmlflow.training.schedules import Rates
from sslmlflow.umm.objective import Weights
from sslmlflow.umm.step import Umm
from tests.encoders.test_timm_models import place
from tests.methods.batch import batch_of

TINY = EncoderSpec("timm/vit_tiny_patch16_224", image_size=16, options="patch_size=4,embed_dim=12,depth=4,num_heads=2")
# Those that docs/methods.md names, the smallest of each.
FAMILIES = {
    "vit_tiny_patch16_224": 32,
    "deit_tiny_patch16_224": 32,
    "vit_wee_patch16_reg1_gap_256": 32,
    "resnet10t": 32,
    "resnext50_32x4d": 32,
    "convnext_atto": 64,
    "efficientnet_b0": 64,
    "regnetx_002": 64,
    "mobilenetv3_small_050": 64,
    "densenet121": 64,
}
REFUSED = {"efficientnet_b0", "regnetx_002", "mobilenetv3_small_050", "densenet121"}  # by several processes


@pytest.mark.parametrize("name", FAMILIES)
def test_the_two_parts_make_up_timms_model(name: str) -> None:
    size = FAMILIES[name]
    check_encoder(f"timm/{name}")
    encoder = build_encoder(EncoderSpec(f"timm/{name}", image_size=size, options="auto"), seed=3).eval()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        sized = {"img_size": size} if name.startswith(("vit", "deit")) else {}
        whole = timm.create_model(name, num_classes=0, **sized).eval()
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        early, last = encoder.embed(images)
        expected = whole(images)
    torch.testing.assert_close(last, expected, rtol=0, atol=1e-4 * expected.abs().max().item())
    assert (early.shape[1], last.shape[1]) == (encoder.early_width, encoder.embedding_width)
    parts = [sum(p.numel() for p in part.parameters()) for part in (encoder.early, encoder.late)]
    assert sum(parts) == sum(p.numel() for p in whole.parameters())
    assert min(parts) > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_with_statistics_of_all_processes_an_encoder_is_the_same_or_refused(name: str) -> None:
    size = FAMILIES[name]
    encoder = build_encoder(EncoderSpec(f"timm/{name}", image_size=size, options="auto"), seed=3).eval()
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        expected = encoder(images)
        if name in REFUSED:
            with pytest.raises(ConfigError, match="BatchNormAct2d layers"):
                synchronise(encoder)
            return
        synchronise(encoder)
        torch.testing.assert_close(encoder(images), expected)


def test_a_vision_transformer_takes_small_views_and_every_parameter_is_trained() -> None:
    encoder = build_encoder(TINY, seed=0)
    assert encoder(torch.rand(2, 3, 8, 8)).shape == (2, 12)
    encoder(torch.rand(2, 3, 16, 16)).square().sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


def test_small_views_must_be_whole_patches() -> None:
    check_views(TINY, [16, 8])
    with pytest.raises(ConfigError, match=r"small views are of 6 px \(must be a multiple of the patches"):
        check_views(TINY, [16, 6])


@pytest.mark.parametrize("way", ["unroll", "aid_cg"])
def test_umm_tunes_the_last_blocks_of_a_vision_transformer(way: str) -> None:
    method = build_method("simclr", "hidden_width=8,projection_width=4", build_encoder(TINY, seed=0), seed=0).train()
    umm = Umm(Weights(0.1, 0.2, directions=4, js_images=4), hypergradient=way)
    state = umm.start(method, Optimising())
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    views = torch.rand(2, 6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    cpu = Machine(torch.device("cpu"), "float32")
    result = umm.step(state, batch_of(views), Progress(0.5, 1.0), Rates(0.0), cpu)
    moved = {name for name, tensor in method.state_dict().items() if not torch.equal(tensor, before[name])}
    assert "encoder.late.blocks.3.attn.qkv.weight" in moved
    assert not {name for name in moved if name.startswith("encoder.early.")}
    assert all(torch.isfinite(loss) for loss in result.losses.values())


@pytest.mark.parametrize(
    ("name", "size", "options", "why"),
    [
        ("vit_tiny_patch16_224", 30, "patch_size=4", r"30 px \(must be a multiple of the patches of .*, 4 px\)"),
        ("vit_tiny_patch16_224", 24, "", r"must be a multiple of the patches of .*, 16 px"),
        ("vit_tiny_patch16_224", 32, "num_heads=5", "divisible by num_heads"),
        ("vit_tiny_patch16_224", 32, "patches=4", r"encoder_options: patches \(must be one of patch_size, embed_dim"),
        ("vit_tiny_patch16_224", 32, "depth=many", r"depth in encoder_options: many \(must be a whole"),
        ("vit_tiny_patch16_224", 32, "depth=0", r"depth in encoder_options: 0 \(must be a whole"),
        ("vit_tiny_patch16_224", 32, "drop_path_rate=5", r"drop_path_rate in .*: 5 \(must be a number from 0"),
        ("vit_tiny_patch16_224", 256, "patch_size=2", r"256 px \(must be at most 4096 patches of 2 px\)"),
        ("resnet18", 32, "patch_size=4", "patch_size"),
        ("mixer_s32_224", 64, "", "cannot be trained on 64 px images"),
        ("swin_tiny_patch4_window7_224", 64, "", "cannot be trained on 64 px images"),
        ("deit_tiny_distilled_patch16_224", 32, "", "its parts do not make up the whole"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(name: str, size: int, options: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        check_views(EncoderSpec(f"timm/{name}", image_size=size, options=options or "auto"), [])
    with pytest.raises(ConfigError, match=why):
        build_encoder(EncoderSpec(f"timm/{name}", image_size=size, options=options or "auto"), seed=0)


def test_published_weights_are_fitted_by_timm_to_the_size_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    place(tmp_path, "test_vit", seed=5)
    spec = EncoderSpec("timm/test_vit", image_size=32, options="patch_size=4")
    encoder = build_encoder(spec, seed=0).eval()
    encoder.load_state_dict(published_tensors(spec, "imagenet"))
    whole = timm.create_model("test_vit", pretrained=True, num_classes=0, img_size=32, patch_size=4).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), whole(images), rtol=1e-4, atol=1e-4)
    for weights, said in (
        ("timm/test_resnet", r"init: timm/test_resnet \(must be random, imagenet, or timm/test_vit.TAG\)"),
        ("timm/test_vit.none", "test_vit has no weights none in timm"),
    ):
        with pytest.raises(ConfigError, match=said):
            published_tensors(spec, weights)
    tagged = EncoderSpec("timm/test_vit.r160_in1k", image_size=32, options="patch_size=4")
    assert published_tensors(tagged, "timm/test_vit.r160_in1k").keys() == encoder.state_dict().keys()
    heads = EncoderSpec("timm/test_vit", image_size=32, options="patch_size=4,num_heads=1")
    with pytest.raises(ConfigError, match=r"encoder_options with init=timm/test_vit: .* \(must be without num_heads"):
        published_tensors(heads, "imagenet")
    with pytest.raises(UserError, match=r"weights of timm/vit_tiny_patch16_224 .* cannot be had"):
        published_tensors(EncoderSpec("timm/vit_tiny_patch16_224", image_size=32, options="patch_size=4"), "imagenet")


def test_a_teacher_drops_nothing() -> None:
    spec = EncoderSpec(TINY.name, image_size=16, options=f"{TINY.options},drop_path_rate=0.5")
    encoder = build_encoder(spec, seed=0).train()
    teacher, images = Momentum(0.9, 1.0, encoder=encoder).train(), torch.randn(8, 3, 16, 16)
    assert torch.equal(teacher(images), teacher(images))
    assert not torch.equal(encoder(images), encoder(images))
    torch.testing.assert_close(teacher(images), encoder.eval()(images))
