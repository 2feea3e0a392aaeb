"""ResNets as torchvision's (He et al. 2016, arXiv 1512.03385), of any width, with either stem."""

import re
from collections import OrderedDict

from torch import Tensor, nn


class _Block(nn.Module):
    """Some layers beside a shortcut; the names are torchvision's, so that its weights fit."""

    expansion = 1

    def __init__(self, channels: int, planes: int, stride: int = 1, shortcut: nn.Module | None = None) -> None:
        super().__init__()
        self._add_layers(channels, planes, stride)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut

    def _add_layers(self, channels: int, planes: int, stride: int) -> None:
        raise NotImplementedError

    def _residual(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        out = self._residual(x)
        out += x if self.downsample is None else self.downsample(x)
        activated: Tensor = self.relu(out)
        return activated


class BasicBlock(_Block):
    """Two 3 x 3 convolutions (section 3.3)."""

    def _add_layers(self, channels: int, planes: int, stride: int) -> None:
        self.conv1 = nn.Conv2d(channels, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)

    def _residual(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return out


class Bottleneck(_Block):
    """A 3 x 3 convolution between two of 1 x 1 (section 4.1); the former has the stride, as torchvision's."""

    expansion = 4

    def _add_layers(self, channels: int, planes: int, stride: int) -> None:
        out = planes * self.expansion
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)

    def _residual(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        expanded: Tensor = self.bn3(self.conv3(out))
        return expanded


Block = type[BasicBlock] | type[Bottleneck]
RESNETS: dict[str, tuple[Block, tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
EARLY_LAYERS = ("layer2", "layer3")  # where a ResNet can be split


def layer_name(name: str) -> str:
    """A tensor's name without the encoder, the part or the model that it lies in: torchvision's.

    >>> layer_name("encoder.late.layer4.0.conv1.weight"), layer_name("conv1.weight")
    ('layer4.0.conv1.weight', 'conv1.weight')
    """
    return re.sub(r"^(encoder\.)?((early|late)\.)?", "", name)


def resnet(name: str, width: int, stem: str) -> nn.Sequential:
    """The layers of a ResNet under torchvision's names, without the classifier.

    The cifar stem is SimCLR's for small images: a 3 x 3 convolution of stride 1 and no max-pooling
    (arXiv 2002.05709, B.9).
    """
    block, depths = RESNETS[name]
    kernel, stride, padding = (7, 2, 3) if stem == "imagenet" else (3, 1, 1)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = nn.Conv2d(3, width, kernel, stride, padding, bias=False)
    layers["bn1"] = nn.BatchNorm2d(width)
    layers["relu"] = nn.ReLU(inplace=True)
    layers["maxpool"] = nn.MaxPool2d(3, 2, 1) if stem == "imagenet" else nn.Identity()
    channels = width
    for stage, depth in enumerate(depths):
        planes = width * 2**stage
        layers[f"layer{stage + 1}"] = _stage(block, channels, planes, depth, stride=1 if stage == 0 else 2)
        channels = planes * block.expansion
    layers["avgpool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    net = nn.Sequential(layers)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


def _stage(block: Block, channels: int, planes: int, depth: int, stride: int) -> nn.Sequential:
    out = planes * block.expansion
    shortcut = None
    if stride != 1 or channels != out:
        shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
    first = block(channels, planes, stride, shortcut)
    return nn.Sequential(first, *(block(out, planes) for _ in range(depth - 1)))
