"""What every `auto` of a training becomes, against the recipes as the monitoring paper prints them."""

import pytest

from sslmlflow.config.methods import method_options_text, read_method_options
from sslmlflow.config.options import texts_of
from sslmlflow.config.pretrain import Pretrain
from sslmlflow.config.views import ViewOptions
from sslmlflow.data.stacks import asymmetric, chosen_views, described
from sslmlflow.encoders import EncoderSpec
from sslmlflow.errors import UserError
from sslmlflow.methods import recipe_of
from sslmlflow.runs.presets import settle
from sslmlflow.runs.umm import trained_with

PAPER = {  # section III-B
    "simclr": {"lr": 0.5, "weight_decay": 1e-4, "epochs": 1000},
    "simsiam": {"lr": 0.06, "weight_decay": 5e-4, "epochs": 800},
    "moco-v2": {"lr": 0.06, "weight_decay": 5e-4, "epochs": 800},
}


@pytest.mark.parametrize("method", PAPER)
def test_the_papers_recipes_are_the_default(method: str) -> None:
    settled = settle(Pretrain(method=method))
    assert {name: getattr(settled, name) for name in PAPER[method]} == PAPER[method]
    assert (settled.schedule, settled.milestone_every, settled.width) == ("one-cycle", 20, 64)


@pytest.mark.parametrize("preset", ["monitoring-paper", "small"])
def test_what_is_given_wins(preset: str) -> None:
    given = {
        "width": 12,
        "epochs": 3,
        "batch_size": 7,
        "milestone_every": 5,
        "lr": 0.25,
        "weight_decay": 0.0,
        "schedule": "cosine",
        "method_options": "temperature=0.9",
    }
    settled = settle(Pretrain(preset=preset, **given))
    numbers = {name: value for name, value in given.items() if name != "method_options"}
    assert {name: getattr(settled, name) for name in numbers} == numbers
    assert method_options_text("simclr", settled.method_options).startswith("temperature=0.9,")


def test_what_a_preset_sets_of_a_method_stays_beside_what_is_given() -> None:
    settled = settle(Pretrain(preset="small", method_options="hidden_width=64"))
    assert method_options_text("simclr", settled.method_options) == (
        "temperature=0.2,hidden_width=64,projection_width=128"
    )


def test_the_small_preset_changes_no_method_that_it_does_not_name() -> None:
    small, paper = settle(Pretrain(preset="small", method="simsiam")), settle(Pretrain(method="simsiam"))
    assert small.lr == paper.lr
    assert small.width < paper.width
    assert small.method_options is None


def test_the_learning_rate_grows_with_the_batch_where_the_recipe_says_so() -> None:
    assert settle(Pretrain(method="byol", batch_size=64)).lr == 0.25
    assert settle(Pretrain(method="byol", batch_size=64, lr=0.7)).lr == 0.7
    assert settle(Pretrain(method="simclr", batch_size=64)).lr == settle(Pretrain(method="simclr")).lr


def test_a_recipes_warm_up_takes_a_tenth_of_the_epochs_at_most_and_one_that_is_asked_for_all_it_is_given() -> None:
    assert [settle(Pretrain(method="byol", epochs=n)).warmup_epochs for n in (1000, 50, 4)] == [10, 5, 0]
    assert settle(Pretrain(method="byol", epochs=50, schedule="warmup-cosine")).warmup_epochs == 10


def test_dino_trains_transformers_by_a_recipe_of_their_own() -> None:
    """The settings of Gani et al. (arXiv 2210.07240) for CIFAR, as their code has them, with batches of 512."""
    given = {"method": "dino", "encoder": "timm/vit_tiny_patch16_224", "batch_size": 512}
    settled = settle(Pretrain(**given))
    assert (settled.optimiser, settled.lr, settled.clip, settled.epochs) == ("adamw", 0.0001, 3.0, 200)
    assert (settled.weight_decay, settled.weight_decay_end, settled.schedule) == (0.04, 0.4, "warmup-cosine")
    options = read_method_options("dino", settled.method_options)
    assert options.hidden_width == 512
    assert (options.prototypes, options.teacher_momentum, options.teacher_temperature_epochs) == (1024, 0.996, 10)
    crops = recipe_of("dino", str(given["encoder"])).multi_crop
    wide, _, small = chosen_views(asymmetric(32), crops, ViewOptions())
    assert (wide.augmentation.scale, small.augmentation.scale) == ((0.7, 1.0), (0.2, 0.5))
    assert (small.count, small.size) == (8, 16)
    other = settle(Pretrain(**given, method_options="prototypes=64"))
    assert read_method_options("dino", other.method_options).prototypes == 64
    assert settle(Pretrain(method="dino")).optimiser == "lars"
    assert settle(Pretrain(encoder=str(given["encoder"]))).optimiser == settle(Pretrain()).optimiser


def test_a_transformer_trained_by_an_earlier_build_is_tuned_on_the_views_that_it_was_trained_on() -> None:
    spec = EncoderSpec("timm/vit_tiny_patch16_224", image_size=32, options="patch_size=4")
    options = texts_of(ViewOptions())
    for known in (recipe_of("dino", spec.name), recipe_of("dino", "resnet18")):
        views = chosen_views(known.views(32), known.multi_crop, ViewOptions())
        assert trained_with("dino", spec, options, described(views)) == (known, views)
    assert trained_with("dino", spec, options, None)[0] == recipe_of("dino", spec.name)
    with pytest.raises(UserError, match="views of the training cannot be made by this build"):
        trained_with("dino", spec, options, "2x32px(scale=0.3/1)")
