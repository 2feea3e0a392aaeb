"""One step of UMM, in its variants."""

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from sslmlflow.distributed import rank
from sslmlflow.errors import DivergedError
from sslmlflow.methods import Batch, Method, Progress
from sslmlflow.training.device import Machine
from sslmlflow.training.optimisers import Optimiser, Optimising
from sslmlflow.training.schedules import Rates
from sslmlflow.training.state import State
from sslmlflow.training.step import StepResult, descend, end_step, start_state
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

    def start(self, method: Method, how: Optimising) -> State:
        """The state before the first step; `how` is the method's own optimiser, which only `alternating` has."""
        state = start_state(method, how) if self.variant == "alternating" else State(method, {})
        everything = {name: p for name, p in method.named_parameters() if p.requires_grad}
        tuned = everything if self.variant == "continuation" else tuned_parameters(method)
        state.optimisers["adam"] = Optimiser(torch.optim.Adam(tuned.values(), lr=self.lr), tuned)
        return state

    def step(self, state: State, batch: Batch, progress: Progress, rates: Rates, machine: Machine) -> StepResult:
        """One step on a batch.

        DivergedError at a volume that is zero or not finite, before Adam has changed any parameter.
        """
        note = None
        progress = progress._replace(epoch=inf)  # what a method freezes or warms up at first is over
        state.method.before_step(progress)
        if self.variant == "continuation":
            losses, projections = descend(state, ("adam",), batch, progress, machine)
        elif self.variant == "alternating":
            own = tuple(name for name in state.optimisers if name != "adam")
            for name in own:
                state.optimisers[name].set_rates(rates)
            losses, projections = descend(state, own, batch, progress, machine)
            after, _, note = self._tune(state, batch, progress, machine)
            losses = {**after, **losses}
        else:
            losses, projections, note = self._tune(state, batch, progress, machine)
        end_step(state, projections, progress)
        return StepResult(losses, note)

    def _tune(
        self, state: State, batch: Batch, progress: Progress, machine: Machine
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], str | None]:
        """Move the late part and the heads; the losses, the projections before, and what there is to say."""
        tuned = tuned_parameters(state.method)
        with fixed_early(state.method, batch, machine) as maps:
            seed = torch.initial_seed() - rank()  # the loop's, of this step: directions are the same in all processes
            objectives = Objectives(state.method, batch, maps[0], list(tuned), self.weights, machine, seed, progress)
            try:
                with sdpa_kernel(SDPBackend.MATH):  # the faster kernels of attention have no second derivatives
                    found = self._gradient(objectives, tuple(tuned.values()))
            except ValueError as error:
                raise DivergedError(
                    f"step {state.step + 1} of UMM cannot be taken: {error}. The late part may have collapsed, or "
                    "diverged: try a lower --lr, --inner_lr, --alpha or --beta."
                ) from error
        length = torch.stack([slope.square().sum() for slope in found.gradient]).sum().sqrt()
        losses = {**objectives.said, "objective": found.outer.detach(), "hypergradient": length}
        if self.variant != "simultaneous" and self.hypergradient.startswith("aid_"):
            losses["left_early"] = torch.tensor(float(found.note is not None), device=found.outer.device)
        for parameter, slope in zip(tuned.values(), found.gradient, strict=True):
            parameter.grad = slope
        state.optimisers["adam"].step()
        keep_buffers(state.method, objectives.buffers_after)
        return losses, objectives.projections or {}, found.note

    def _gradient(self, objectives: Objectives, phi: tuple[Tensor, ...]) -> Hypergradient:
        if self.variant == "simultaneous":
            value, slopes = gradient(objectives.both, phi)
            return Hypergradient(slopes, phi, value)
        curvature = objectives.loss if self.loss_curvature else None
        ways = self.hypergradient, objectives.inner, objectives.outer
        return hypergradient(*ways, phi, self.inner_lr, curvature, self.terms)
