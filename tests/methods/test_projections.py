"""Which view goes through which heads, and what a step leaves behind: teachers, centres, queues, prototypes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from sslmlflow.config.methods import METHODS
from sslmlflow.methods import Batch, Method, Progress, method_class
from tests.methods.narrow import narrow, some_batch

HALFWAY = Progress(0.5, 1.5)
Crops = list[Tensor]


def through(method: Method, crop: Tensor, *parts: str) -> Tensor:
    """A crop through modules by name, one image at a time."""
    rows = []
    for image in crop:
        row = image[None]
        for part in parts:
            row = method.get_submodule(part)(row)
        rows.append(row[0])
    return torch.stack(rows)


def of_two(*parts: str) -> Callable[[Method, Crops], dict[str, Tensor]]:
    def expected(method: Method, crops: Crops) -> dict[str, Tensor]:
        return {name: through(method, crop, *parts) for name, crop in zip(("first", "second"), crops, strict=True)}

    return expected


def of_simsiam(method: Method, crops: Crops) -> dict[str, Tensor]:
    names, parts = ("first", "second"), ("encoder", "projector", "predictor")
    predicted = {f"{name}_prediction": through(method, crop, *parts) for name, crop in zip(names, crops, strict=True)}
    return of_two(*parts[:2])(method, crops) | predicted


def of_byol(method: Method, crops: Crops) -> dict[str, Tensor]:
    found = {}
    for name, crop in zip(("first", "second"), crops, strict=True):
        found[f"{name}_prediction"] = through(method, crop, "encoder", "projector", "predictor")
        found[f"{name}_target"] = through(method, crop, "teacher.encoder", "teacher.projector")
    return found


def of_swav(method: Method, crops: Crops) -> dict[str, Tensor]:
    projections = torch.stack([normalize(through(method, crop, "encoder", "projector"), dim=1) for crop in crops], 1)
    return {"projections": projections, "scores": projections @ method.get_parameter("prototypes.weight").T}


def of_dino(method: Method, crops: Crops) -> dict[str, Tensor]:
    student = [through(method, crop, "encoder", "head") for crop in crops]
    teacher = [through(method, crop, "teacher.encoder", "teacher.head") for crop in crops[:2]]
    return {"student": torch.stack(student, 1), "teacher": torch.stack(teacher, 1)}


EXPECTED: dict[str, Callable[[Method, Crops], dict[str, Tensor]]] = {
    "simclr": of_two("encoder", "projector"),
    "simsiam": of_simsiam,
    "moco-v2": lambda method, crops: {
        "query": through(method, crops[0], "encoder", "projector"),
        "key": through(method, crops[1], "key.encoder", "key.projector"),
    },
    "byol": of_byol,
    "barlow-twins": of_two("encoder", "projector"),
    "vicreg": of_two("encoder", "projector"),
    "vicregl": lambda method, crops: {
        "wholes": torch.stack([through(method, crop, "encoder", "projector") for crop in crops], 1)
    },
    "swav": of_swav,
    "dino": of_dino,
}


@pytest.mark.parametrize("name", METHODS)
@torch.no_grad()
def test_every_view_goes_through_the_heads_that_the_loss_takes_it_from(name: str) -> None:
    method, batch = narrow(name), some_batch(name)
    for number, parameter in enumerate(method.parameters()):  # teachers are no copies any more
        parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    method.eval()
    crops = [crop for group in batch.crops for crop in group]
    found = method.project(batch)
    for key, tensor in EXPECTED[name](method, crops).items():
        torch.testing.assert_close(found[key], tensor, msg=lambda why, key=key: f"{key}: {why}")


def stepped(name: str) -> tuple[Method, dict[str, Tensor], dict[str, Tensor], Batch]:
    """A method after a step that moved every parameter, the state before `after_step`, what was projected."""
    method, batch = narrow(name), some_batch(name)
    out = {key: tensor.detach() for key, tensor in method.project(batch).items()}
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)
    before = {key: tensor.clone() for key, tensor in method.state_dict().items()}
    method.after_step(out, HALFWAY)
    return method, before, out, batch


@pytest.mark.parametrize(("name", "start"), [("byol", 0.99), ("dino", 0.9)])
def test_a_teacher_keeps_its_share_at_every_step(name: str, start: float) -> None:
    method, before, _, _ = stepped(name)
    share = (1 + start) / 2  # halfway between the start and 1
    teacher = {key: p for key, p in method.named_parameters() if key.startswith("teacher.")}
    assert teacher
    for key, parameter in teacher.items():
        expected = share * before[key] + (1 - share) * before[key.removeprefix("teacher.")]
        torch.testing.assert_close(parameter, expected)


def test_dinos_centre_moves_by_a_tenth_to_the_mean_of_the_teachers_outputs() -> None:
    method, before, out, _ = stepped("dino")
    rows = [row for image in out["teacher"].tolist() for row in image]
    for place, (old, new) in enumerate(
        zip(before["centre"].tolist(), method.get_buffer("centre").tolist(), strict=True)
    ):
        assert new == pytest.approx(0.9 * old + 0.1 * sum(row[place] for row in rows) / len(rows), abs=1e-6)


def test_swavs_newest_projections_come_first_in_the_queue_and_its_prototypes_have_length_1() -> None:
    method, before, out, batch = stepped("swav")
    count = batch.crops[0].shape[1]
    for view in range(2):
        queue = method.get_buffer("queue")[view]
        torch.testing.assert_close(queue[:count], out["projections"][:, view])
        torch.testing.assert_close(queue[count:], before["queue"][view, : len(queue) - count])
    assert int(method.get_buffer("queued")) == count
    lengths = method.get_parameter("prototypes.weight").norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


# solo-learn's scripts for CIFAR-10: learning rate per 256 images and weight decay; VICRegL has VICReg's.
RECIPES = {
    "byol": (1.0, 1e-5),
    "barlow-twins": (0.3, 1e-4),
    "vicreg": (0.3, 1e-4),
    "vicregl": (0.3, 1e-4),
    "swav": (0.6, 1e-6),
    "dino": (0.3, 1e-6),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_for_small_images_are_those_of_solo_learn(name: str) -> None:
    recipe = method_class(name).recipe
    assert (recipe.lr_of(256), recipe.weight_decay) == RECIPES[name]
    assert recipe.lr_of(64) == pytest.approx(RECIPES[name][0] / 4)
    assert (recipe.optimiser, recipe.trust, recipe.trust_clip, recipe.epochs) == ("lars", 0.02, True, 1000)
