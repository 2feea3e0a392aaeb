"""VICRegL: VICReg of whole views, and of the places of their feature maps that match (Bardes et al. 2022)."""

from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from sslmlflow.data.augmentation import Views
from sslmlflow.data.stacks import MultiCrop
from sslmlflow.encoders import RESNETS, Encoder, EncoderSpec, build_encoder
from sslmlflow.errors import ConfigError
from sslmlflow.methods.base import Batch, Method, Progress
from sslmlflow.methods.heads import Head
from sslmlflow.methods.recipes import small_images_recipe
from sslmlflow.methods.vicreg import covariance_term, small_scale, variance_term

Weights = tuple[float, float, float]


def vicregl_local_loss(
    first: Tensor,
    second: Tensor,
    first_places: Tensor,
    second_places: Tensor,
    matches: int,
    weights: Weights = (25.0, 25.0, 1.0),
) -> Tensor:
    """Return VICReg's loss of the places of two feature maps that are matched by where they are, and by features.

    Each place of a map is matched with the nearest of the other; the closest `matches` pairs of every image count, of
    either map, once by the distance in the image and once by that of the features.

    Args:
        first, second: Features (n, p, d) and (n, q, d) of the places of two maps of n images; n of 2 or more.
        first_places, second_places: (n, p, 2) and (n, q, 2), where these are in the image.
        matches: At most the lesser of p and q.
        weights: Of invariance, variance and covariance.

    Returns:
        A scalar of 0 or more.

    Source: Bardes et al. 2022 (arXiv 2210.01571), section 3.2, Eq. 1 to 4.
    """
    found = []
    for distances in (torch.cdist(first_places, second_places), torch.cdist(first, second)):
        found.append(_vicreg(*_matched(first, second, distances, matches), weights))
        found.append(_vicreg(*_matched(second, first, distances.mT, matches), weights))
    return torch.stack(found).sum() / 2


def _matched(features: Tensor, others: Tensor, distances: Tensor, matches: int) -> tuple[Tensor, Tensor]:
    """The (n, matches, d) features whose nearest others are closest, nearest first, and these others."""
    nearest, which = distances.min(dim=2)
    rows = nearest.topk(matches, dim=1, largest=False).indices
    return _rows(features, rows), _rows(others, which.gather(1, rows))


def _rows(features: Tensor, rows: Tensor) -> Tensor:
    return features.gather(1, rows[:, :, None].expand(-1, -1, features.shape[2]))


def _vicreg(first: Tensor, second: Tensor, weights: Weights) -> Tensor:
    """VICReg with the mean of both views' covariances, not their sum."""
    invariance, variance, covariance = weights
    spread = (variance_term(first) + variance_term(second)) / 2
    together = (covariance_term(first) + covariance_term(second)) / 2
    return invariance * mse_loss(first, second) + variance * spread + covariance * together


def places_in_image(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return where the places (..., height * width, 2) of feature maps are in the image, from the boxes (..., 4).

    >>> places_in_image(torch.tensor([10.0, 0.0, 2.0, 4.0]), 1, 2)  # a mirrored crop
    tensor([[8., 2.],
            [4., 2.]])
    """
    left, top, right, bottom = boxes[..., None].unbind(-2)
    down, across = ((torch.arange(count, device=boxes.device) + 0.5) / count for count in (height, width))
    x, y = left + (right - left) * across, top + (bottom - top) * down
    shape = *boxes.shape[:-1], height, width
    grid = torch.stack([x[..., None, :].expand(shape), y[..., :, None].expand(shape)], dim=-1)
    return grid.flatten(-3, -2)


class VICRegL(Method):
    """VICRegL (arXiv 2210.01571); the loss is a weighted sum of VICReg of whole views and of `vicregl_local_loss`.

    There is no published recipe for small images: this one is VICReg's there, with the paper's share of the local loss
    and of matches (20 of 49 places).
    """

    recipe = small_images_recipe(lr=0.3, weight_decay=1e-4, views=small_scale, multi_crop=MultiCrop())
    heads = ("projector",)
    gathered = ("wholes", "maps", "maps_places", "small_maps", "small_maps_places")

    def __init__(
        self,
        encoder: Encoder,
        *,
        global_share: float,
        match_share: float,
        hidden_width: int,
        projection_width: int,
        local_width: int,
        invariance: float,
        variance: float,
        covariance: float,
    ) -> None:
        super().__init__(encoder)
        self.projector = Head(encoder.embedding_width, hidden_width, hidden_width, projection_width)
        self.local_projector = Head(self.map_width(encoder), local_width, local_width, local_width)
        self._global_share, self._match_share = global_share, match_share
        self._weights = invariance, variance, covariance

    @classmethod
    def check(cls, options: Any, encoder: EncoderSpec, views: Views, batch_size: int) -> None:
        if any(group.augmentation.rotate90_p for group in views):
            raise ConfigError(
                "invalid value for method: vicregl (views must not be rotated, because positions are matched by where "
                "they are in the image). Set --rotate90=0."
            )
        if encoder.name not in RESNETS:
            cls.map_width(build_encoder(encoder, seed=0))

    @staticmethod
    def map_width(encoder: Encoder) -> int:
        """Channels of the map that is averaged into the embedding; ConfigError for an encoder without one."""
        if encoder.map_width is None:
            raise ConfigError(
                "invalid value for method: vicregl (the embedding of this encoder is not the mean of a feature map). "
                "Use --encoder=resnet18, resnet50, or another convolutional model that ends so."
            )
        return encoder.map_width

    def project(self, batch: Batch) -> dict[str, Tensor]:
        wholes, out = [], {}
        for name, views, boxes in zip(("maps", "small_maps"), batch.crops, batch.boxes, strict=False):
            maps, embeddings = self.encoder.with_map(views.flatten(0, 1))
            wholes.append(self.projector(embeddings).unflatten(0, views.shape[:2]))
            if not self.training:  # for the held-out loss, which is of whole views: maps of all images are too large
                continue
            places = maps.flatten(2).transpose(1, 2)
            features = self.local_projector(places.flatten(0, 1)).unflatten(0, (*views.shape[:2], -1))
            out[name] = features.transpose(0, 1)
            out[f"{name}_places"] = places_in_image(boxes.to(maps.device), *maps.shape[2:]).transpose(0, 1)
        return {"wholes": torch.cat(wholes).transpose(0, 1), **out}

    def loss(self, out: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        parts = {name: tensor.float().transpose(0, 1) for name, tensor in out.items()}
        whole, local = self._whole(parts["wholes"]), self._local(parts)
        return {
            "loss": self._global_share * whole + (1 - self._global_share) * local,
            "loss_whole": whole,
            "loss_local": local,
        }

    def held_out_loss(self, out: dict[str, Tensor]) -> Tensor:
        """VICReg of the whole views alone."""
        return self._whole(out["wholes"].float().transpose(0, 1))

    def _whole(self, wholes: Tensor) -> Tensor:
        """VICReg of views (v, n, d): every global one with every other; variance and covariance of each."""
        pairs = [(a, b) for a, b in product(range(2), range(len(wholes))) if a != b]
        invariance = torch.stack([mse_loss(wholes[a], wholes[b]) for a, b in pairs]).mean()
        spread = torch.stack([variance_term(view) for view in wholes]).mean()
        together = torch.stack([covariance_term(view) for view in wholes]).mean()
        ours, theirs, last = self._weights
        return ours * invariance + theirs * spread + last * together

    def _local(self, parts: dict[str, Tensor]) -> Tensor:
        maps, places = parts["maps"], parts["maps_places"]
        found = [self._local_pair(maps[0], maps[1], places[0], places[1])] * 2  # either global one with the other
        if "small_maps" in parts:
            small = list(zip(parts["small_maps"], parts["small_maps_places"], strict=True))
            for a, (features, where) in product(range(2), small):
                found.append(self._local_pair(maps[a], features, places[a], where))
        return torch.stack(found).mean()

    def _local_pair(self, first: Tensor, second: Tensor, first_places: Tensor, second_places: Tensor) -> Tensor:
        matches = max(round(self._match_share * min(first.shape[1], second.shape[1])), 1)
        return vicregl_local_loss(first, second, first_places, second_places, matches, self._weights)
