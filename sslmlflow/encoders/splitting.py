"""Split a classification model of torchvision into an early part, a late part and a dropped classifier.

The late part is the model itself with the early blocks taken out, so that whatever its own `forward`
does between blocks is kept.
"""

import torch
from torch import Tensor, nn
from torchvision.models import SwinTransformer, VisionTransformer
from torchvision.ops import Permute

CONTAINERS = ("features", "layers", "trunk_output", "blocks", "stages")


def split(model: nn.Module, images: Tensor, classifier: bool = True) -> tuple[nn.Module, nn.Module]:
    """The early and the late part of `model`, whose `classifier` is dropped; together they embed `images`.

    The early part ends where the resolution falls for the last time (a ResNet's layer3), or after
    three quarters of the blocks of a vision transformer. ValueError if the parts do not make up the whole.
    """
    if classifier:
        _drop_classifier(model)
    model.eval()
    with torch.no_grad():
        whole = model(images)
        early: nn.Module
        late: nn.Module
        if isinstance(model, VisionTransformer):
            blocks = model.encoder.layers
            kept = len(blocks) * 3 // 4
            early, late = _EarlyTokens(model, blocks[:kept]), _LateTokens(blocks[kept:], model.encoder.ln)
        else:
            early, late = _early(model, images), model
        # Some models' embeddings are as small as 1e-5 before training, so the tolerance goes with their size.
        if not torch.allclose(late(early(images)), whole, rtol=0, atol=1e-4 * whole.abs().max().item()):
            raise ValueError("its parts do not make up the whole")
    return early, late


def _drop_classifier(model: nn.Module) -> None:
    name, head = list(model.named_children())[-1]
    if not isinstance(head, nn.Sequential):
        setattr(model, name, nn.Identity())
        return
    last = max(i for i, layer in enumerate(head) if isinstance(layer, nn.Linear | nn.Conv2d))
    head[last] = nn.Identity()


def _early(model: nn.Module, images: Tensor) -> nn.Sequential:
    """Take the blocks before the last fall in resolution out of `model`."""
    blocks = _blocks(model)[:-1]  # the last is the classification head, which may pool
    channels_last = isinstance(model, SwinTransformer)
    positions, feature_map = [], images
    for _, _, block in blocks:
        if isinstance(block, nn.AdaptiveAvgPool2d | nn.LayerNorm):
            break
        feature_map = block(feature_map)
        if feature_map.ndim != 4 or feature_map.shape[2:] == (1, 1):  # timm's own pooling
            break
        positions.append(feature_map[0, ..., 0].numel() if channels_last else feature_map[0, 0].numel())
    falls = [i for i in range(1, len(positions)) if positions[i] < positions[i - 1]]
    if not falls:
        raise ValueError("its resolution never falls")
    taken = blocks[: falls[-1]]
    for parent, name, _ in taken:
        setattr(parent, name, nn.Identity())
    early = [block for _, _, block in taken]
    if channels_last:
        early.append(Permute([0, 3, 1, 2]))
        parent, name, _ = taken[0]
        setattr(parent, name, Permute([0, 2, 3, 1]))
    return nn.Sequential(*early)


def _blocks(model: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """The blocks in the order in which they run, as (parent, name in the parent, block)."""
    found: list[tuple[nn.Module, str, nn.Module]] = []
    for name, child in model.named_children():
        if name in CONTAINERS and isinstance(child, nn.Sequential | nn.ModuleList):
            found += [(child, inner, block) for inner, block in child.named_children()]
        else:
            found.append((model, name, child))
    return found


class _EarlyTokens(nn.Module):
    """Images to the tokens (n, t, c) after the first blocks of a vision transformer."""

    def __init__(self, model: VisionTransformer, blocks: nn.Sequential) -> None:
        super().__init__()
        self.patches = model.conv_proj
        self.class_token = model.class_token
        self.positions = model.encoder.pos_embedding
        self.dropout = model.encoder.dropout
        self.blocks = blocks

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1)
        out: Tensor = self.blocks(self.dropout(tokens + self.positions))
        return out


class _LateTokens(nn.Module):
    """Tokens to the class token after the remaining blocks."""

    def __init__(self, blocks: nn.Sequential, norm: nn.Module) -> None:
        super().__init__()
        self.blocks = blocks
        self.norm = norm

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.norm(self.blocks(tokens))[:, 0]
        return out
