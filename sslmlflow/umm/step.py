"""One step of UMM, in its variants."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sslmlflow.errors import DivergedError
from sslmlflow.methods import Method
from sslmlflow.training.device import Machine
from sslmlflow.training.schedules import Schedule
from sslmlflow.training.state import State
from sslmlflow.training.step import Taken, check_finite, descend, end_step, set_rate, start_state
from sslmlflow.umm.fixed_early import fixed_early, tuned_parameters
from sslmlflow.umm.hypergradient import Hypergradient, gradient, hypergradient
from sslmlflow.umm.objective import Objectives, Weights, keep_buffers


@dataclass(frozen=True)
class Umm:
    """How UMM goes down its objective: an inner step of `inner_lr`, an outer one by Adam with `lr`, no weight decay.

    `umm` is the bi-level form; `simultaneous` minimises all terms on one level; `alternating` lets a step of the
    method on all its parameters come before each of UMM (from scratch, the paper's "& UMM"); `continuation` goes on
    with the method's own loss alone, all parameters tuned: what UMM is to be compared with. Source: Qiang et al.,
    section 5.2 and tables 1 and 10.
    """

    weights: Weights
    variant: str = "umm"
    inner_lr: float = 0.1
    lr: float = 1e-3
    hypergradient: str = "unroll"
    terms: int = 5
    loss_curvature: bool = False

    def start(self, method: Method, weight_decay: float) -> State:
        """The state before the first step."""
        everything = self.variant == "continuation"
        parameters = [p for p in method.parameters() if p.requires_grad]
        adam = torch.optim.Adam(parameters if everything else tuned_parameters(method).values(), lr=self.lr)
        if self.variant == "alternating":
            state = start_state(method, weight_decay)
            state.optimisers["adam"] = adam
            return state
        return State(method, {"adam": adam})

    def step(self, state: State, views: Tensor, schedule: Schedule, machine: Machine) -> Taken:
        """One step on views (2, n, 3, size, size).

        DivergedError at a loss that is not finite or a volume that is zero, before Adam has changed any parameter.
        """
        lr, note = self.lr, None
        if self.variant == "continuation":
            losses, projections = descend(state, "adam", views, machine, lr)
        elif self.variant == "alternating":
            lr = set_rate(state, schedule)
            losses, projections = descend(state, "sgd", views, machine, lr)
            after, _, note = self._tune(state, views, machine)
            losses = {**after, **losses}
        else:
            losses, projections, note = self._tune(state, views, machine)
        end_step(state, projections, schedule)
        return Taken(lr, losses, note)

    def _tune(
        self, state: State, views: Tensor, machine: Machine
    ) -> tuple[dict[str, float], dict[str, Tensor], str | None]:
        """Move the late part and the heads; the losses, the projections before, and what there is to say."""
        tuned = tuned_parameters(state.method)
        with fixed_early(state.method, views, machine) as maps:
            seed = torch.initial_seed()  # the loop's, of this step
            objectives = Objectives(state.method, views, maps, list(tuned), self.weights, machine, seed)
            try:
                with sdpa_kernel(SDPBackend.MATH):  # the faster kernels of attention have no second derivatives
                    found = self._gradient(objectives, tuple(tuned.values()))
            except ValueError as error:
                raise DivergedError(
                    f"step {state.step + 1} of UMM cannot be taken: {error}. The late part may have collapsed, or "
                    "diverged: try a lower --lr, --inner_lr, --alpha or --beta."
                ) from error
        losses = {**objectives.said, "objective": found.outer.item()}
        if self.variant != "simultaneous" and self.hypergradient.startswith("aid_"):
            losses["left_early"] = float(found.note is not None)
        check_finite(losses, state.step, self.lr)
        check_finite({"hypergradient": sum(slope.sum().item() for slope in found.gradient)}, state.step, self.lr)
        for parameter, slope in zip(tuned.values(), found.gradient, strict=True):
            parameter.grad = slope
        state.optimisers["adam"].step()
        state.optimisers["adam"].zero_grad(set_to_none=True)
        keep_buffers(state.method, objectives.buffers_after)
        return losses, objectives.projections or {}, found.note

    def _gradient(self, objectives: Objectives, phi: tuple[Tensor, ...]) -> Hypergradient:
        if self.variant == "simultaneous":
            value, slopes = gradient(objectives.both, phi)
            return Hypergradient(slopes, phi, value)
        curvature = objectives.loss if self.loss_curvature else None
        ways = self.hypergradient, objectives.inner, objectives.outer
        return hypergradient(*ways, phi, self.inner_lr, curvature, self.terms)
