"""DINO: a student predicts how its own moving average sorts the image, from other views (Caron et al. 2021)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, log_softmax, normalize, softmax

from sslmlflow.data.stacks import MultiCrop, asymmetric
from sslmlflow.distributed import mean
from sslmlflow.encoders import Encoder
from sslmlflow.methods.base import Batch, Method, Progress, Recipe
from sslmlflow.methods.momentum import Momentum
from sslmlflow.methods.recipes import small_images_recipe


def dino_loss(
    student: Tensor, teacher: Tensor, centre: Tensor, temperature: float = 0.1, teacher_temperature: float = 0.04
) -> Tensor:
    """Return the cross-entropy of every view's prediction and the teacher's of every other global view, averaged.

    Args:
        student: (v, n, k) outputs for v views of n images, the global ones first.
        teacher: (g, n, k) outputs for the g global views; no gradient flows there.
        centre: (k,), subtracted from the teacher's outputs.
        temperature, teacher_temperature: Above 0; the lower, the sharper.

    Returns:
        A scalar of 0 or more.

    Source: Caron et al. 2021 (arXiv 2104.14294), Eq. 3.

    >>> out = torch.zeros(2, 3, 4)
    >>> print(f"{dino_loss(out, out, torch.zeros(4)):.4f}")  # even: log 4
    1.3863
    """
    predicted = log_softmax(student / temperature, dim=2)
    wanted = softmax((teacher.detach() - centre) / teacher_temperature, dim=2)
    found = -torch.einsum("gnk,vnk->gv", wanted, predicted) / student.shape[1]
    # What the teacher says of a view is not asked of the same view. A mask would be waited for on a GPU.
    return (found.sum() - found.diagonal().sum()) / (found.numel() - len(teacher))


class DINOHead(nn.Module):
    """Three layers to a bottleneck of length 1, then the cosines to prototypes (arXiv 2104.14294, appendix C)."""

    def __init__(self, width: int, hidden_width: int, bottleneck_width: int, prototypes: int) -> None:
        super().__init__()
        sizes = [(width, hidden_width), (hidden_width, hidden_width), (hidden_width, bottleneck_width)]
        first, second, third = (nn.Linear(*size) for size in sizes)
        self.layers = nn.Sequential(first, nn.GELU(), second, nn.GELU(), third)
        for layer in (first, second, third):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        self.prototypes = nn.Linear(bottleneck_width, prototypes, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Features (n, width) to outputs (n, prototypes)."""
        return linear(normalize(self.layers(features), dim=1), normalize(self.prototypes.weight, dim=1))


class DINO(Method):
    """DINO (arXiv 2104.14294) with solo-learn's recipe for CIFAR, or a vision transformer's; the loss is `dino_loss`.

    Milestones measure and keep the teacher's encoder, which is the better one (section 5.1 of the paper). The teacher's
    temperature rises in a line during the first epochs; its centre follows the mean of its outputs; the last layer
    stays as it was drawn during the first epochs. The teacher's share of old values goes from `teacher_momentum` to 1.
    """

    recipe = small_images_recipe(lr=0.3, weight_decay=1e-6, views=asymmetric, multi_crop=MultiCrop())
    # Gani et al. 2022 (arXiv 2210.07240): their code's settings for CIFAR as of November 2026.
    transformer_recipe = Recipe(
        200,
        lr=0.0001,
        weight_decay=0.04,
        schedule="warmup-cosine",
        lr_batch=512,
        optimiser="adamw",
        weight_decay_end=0.4,
        clip=3.0,
        views=asymmetric,
        multi_crop=MultiCrop(count=8, count_of_small=8, global_scale=(0.7, 1.0), local_scale=(0.2, 0.5)),
        method_options="hidden_width=512,prototypes=1024,teacher_momentum=0.996,teacher_temperature_epochs=10",
    )
    heads = ("head",)
    centre: Tensor

    def __init__(
        self,
        encoder: Encoder,
        *,
        temperature: float,
        teacher_temperature_start: float,
        teacher_temperature: float,
        teacher_temperature_epochs: int,
        teacher_momentum: float,
        centre_momentum: float,
        frozen_epochs: int,
        prototypes: int,
        hidden_width: int,
        bottleneck_width: int,
    ) -> None:
        super().__init__(encoder)
        self.head = DINOHead(encoder.embedding_width, hidden_width, bottleneck_width, prototypes)
        self.teacher = Momentum(teacher_momentum, 1.0, encoder=encoder, head=self.head)
        self.register_buffer("centre", torch.zeros(prototypes))
        self._temperature, self._centre_momentum, self._frozen_epochs = temperature, centre_momentum, frozen_epochs
        self._teacher_temperatures = teacher_temperature_start, teacher_temperature, teacher_temperature_epochs

    @property
    def measured(self) -> Encoder:
        if self.is_tuned:
            return self.encoder
        encoder = self.teacher.get_submodule("encoder")
        assert isinstance(encoder, Encoder)
        return encoder

    @property
    def measured_heads(self) -> tuple[str, ...]:
        return self.heads if self.is_tuned else ("teacher.head",)

    @torch.no_grad()
    def begin_tuning(self) -> None:
        """Let the student, which is tuned, begin as the teacher, which was measured."""
        if not self.is_tuned:
            for name, module in (("encoder", self.encoder), ("head", self.head)):
                module.load_state_dict(self.teacher.get_submodule(name).state_dict())
        super().begin_tuning()

    def project(self, batch: Batch) -> dict[str, Tensor]:
        student = [self.head(self.encoder(views.flatten(0, 1))).unflatten(0, views.shape[:2]) for views in batch.crops]
        teacher = self.teacher(batch.crops[0].flatten(0, 1)).unflatten(0, batch.crops[0].shape[:2])
        return {"student": torch.cat(student).transpose(0, 1), "teacher": teacher.transpose(0, 1)}

    def loss(self, out: dict[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        student, teacher = (out[name].float().transpose(0, 1) for name in ("student", "teacher"))
        temperatures = self._temperature, self.teacher_temperature(progress)
        return {"loss": dino_loss(student, teacher, self.centre, *temperatures)}

    def held_out_loss(self, out: dict[str, Tensor]) -> Tensor:
        """`dino_loss` with the centre of the teacher's outputs for these images: the kept one is of training images."""
        student, teacher = (out[name].float().transpose(0, 1) for name in ("student", "teacher"))
        temperatures = self._temperature, self._teacher_temperatures[1]
        return dino_loss(student, teacher, teacher.mean(dim=(0, 1)), *temperatures)

    def teacher_temperature(self, progress: Progress) -> float:
        """How sharp the teacher is."""
        start, end, epochs = self._teacher_temperatures
        return end if progress.epoch >= epochs else start + (end - start) * progress.epoch / epochs

    def before_step(self, progress: Progress) -> None:
        self.head.prototypes.requires_grad_(progress.epoch >= self._frozen_epochs)

    @torch.no_grad()
    def after_step(self, out: dict[str, Tensor], progress: Progress) -> None:
        self.teacher.follow(progress)
        self.centre.lerp_(mean(out["teacher"].float().mean(dim=(0, 1))), 1 - self._centre_momentum)
