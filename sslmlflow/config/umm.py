"""Parameters of the entry point `umm`."""

from dataclasses import dataclass

from sslmlflow.config.monitor import MonitorOptions
from sslmlflow.config.options import again, option
from sslmlflow.config.training import ProcessOptions, TrainingOptions

VARIANTS = ("umm", "simultaneous", "alternating", "continuation")
HYPERGRADIENTS = ("unroll", "first_order", "finite_diff", "aid_neumann", "aid_cg")
REDUCTIONS = ("pairs", "soft")
DENSITIES = ("proj_out", "exact", "sketch_in", "frob")


@dataclass(frozen=True)
class UmmOptions:
    """Fine-tuning"""

    run: str | None = option(None, "training whose milestone is tuned; auto: the experiment's latest that is finished")
    milestone: str = option(
        "last", "which one: last, best (the highest adjusted CRR, without labels), init, an epoch, or a model id"
    )
    data_dir: str | None = option(
        None, "folder of the images that it was trained on; auto: where they were then", changes_result=False
    )
    download: bool = option(False, "fetch the data set if it is not there yet", changes_result=False)
    variant: str = option(
        "umm",
        "umm: bi-level, the early part fixed; simultaneous: all terms on one level; alternating: a step of the method "
        "on everything before each of UMM (from milestone=init the paper's \"& UMM\"); continuation: the method's loss "
        "alone on everything, to compare with",
        choices=VARIANTS,
    )
    alpha: float = option(0.01, "weight of the coding rate reduction, which the outer step raises", minimum=0)
    beta: float = option(1.0, "weight of the divergence of the densities, which the inner step lowers", minimum=0)
    crr: str = option(
        "pairs",
        "coding rate reduction that alpha weighs: pairs, one class per image, as released; soft, every view the anchor "
        "of a class that the others belong to by similarity, after the paper's text (docs/umm.md lists our choices)",
        choices=REDUCTIONS,
    )
    eps: float = again(MonitorOptions, "eps", help="distortion of the coding rate (not squared) in the objective")
    inner_lr: float = option(0.1, "length of the inner gradient step", above=0)
    lr: float = option(1e-3, "learning rate of the outer step, by Adam", above=0)
    hypergradient: str = option(
        "unroll", "how the outer gradient goes through the inner step (docs/umm.md)", choices=HYPERGRADIENTS
    )
    terms: int = option(5, "terms, or steps, of aid_neumann and aid_cg", minimum=1)
    loss_curvature: bool = option(
        False, "take second derivatives of the method's loss alone, not of the divergence: faster, less exact"
    )
    density: str = option("proj_out", "estimator of the log-volumes (docs/umm.md)", choices=DENSITIES)
    directions: int = option(8, "random directions of the estimator; exact needs none", minimum=1)
    js_images: int = option(64, "early embeddings of a batch on which the divergence is estimated", minimum=2)
    kappa: float | None = option(
        None, "power of the volume in the density; auto: 1/sqrt(embedding width), 1 is the theorem's", above=0
    )
    early_layer: str = option(
        "auto",
        "last layer of the fixed early part of a ResNet; auto: as it was trained, layer3",
        choices=("auto", "layer2", "layer3"),
    )
    epochs: int = option(200, "passes over the training images; published: 200", minimum=1)
    batch_size: int | None = option(None, "images per step; auto: the training's", minimum=2)
    milestone_every: int | None = option(None, "epochs between milestones; auto: the training's", minimum=1)


@dataclass(frozen=True)
class Umm(UmmOptions, TrainingOptions, ProcessOptions):
    """Tune the late part of a milestone without labels, to undo memorisation (UMM)."""
