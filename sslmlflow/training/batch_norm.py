"""BatchNorm whose statistics are those of all processes' images, so that their number changes nothing."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sslmlflow.distributed import gather, size, total
from sslmlflow.errors import ConfigError

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def synchronise(model: nn.Module) -> None:
    """Replace each BatchNorm of a model by one of the same state that computes with the images of all processes.

    torch's own SyncBatchNorm works on GPUs only, and has no second derivatives. ConfigError at a layer that does more
    than BatchNorm, such as those of timm that hold an activation.
    """
    for name, module in list(model.named_children()):
        if isinstance(module, _BatchNorm) and type(module) in PLAIN:
            setattr(model, name, _shared(module))
        elif isinstance(module, _BatchNorm):
            raise ConfigError(
                f"invalid value for processes: {size()} (must be 1 for this encoder, because its "
                f"{type(module).__name__} layers cannot compute with the images of several processes)"
            )
        else:
            synchronise(module)


def _shared(norm: _BatchNorm) -> "SharedBatchNorm":
    shared = SharedBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for name, parameter in norm.named_parameters(recurse=False):
        setattr(shared, name, parameter)
    for name, buffer in norm.named_buffers(recurse=False):
        setattr(shared, name, buffer)
    return shared.train(norm.training)


class SharedBatchNorm(_BatchNorm):
    """BatchNorm of inputs (n, c, ...), in training with the mean and variance of all processes' inputs together.

    Every process must have equally many. It can be differentiated twice.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or size() == 1:
            return super().forward(input)
        weight = self.weight if self.affine else input.new_ones(self.num_features, dtype=torch.float32)
        bias = self.bias if self.affine else torch.zeros_like(weight)
        normalised: Tensor
        normalised, mean, variance = _Normalise.apply(input, weight, bias, self.eps)
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            count = input.numel() // self.num_features * size()
            self.num_batches_tracked.add_(1)
            share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
            self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), share)
        return normalised


class _Normalise(torch.autograd.Function):
    """torch's kernels with the statistics of all processes; what differentiates it again gets the formula."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        exact = x.to(weight.dtype)  # statistics of half-precision inputs would be rounded to theirs
        local_mean, local_variance = torch.batch_norm_update_stats(exact, None, None, 0.0)
        means, variances = gather(torch.stack([local_mean, local_variance])[None]).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        normalised, _, _ = torch.native_batch_norm(x, weight, bias, mean, variance, False, 0.0, eps)
        ctx.save_for_backward(x, weight, bias, mean, variance)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance)
        return normalised, mean, variance

    @staticmethod
    def backward(ctx: Any, slope: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, variance = ctx.saved_tensors
        if torch.is_grad_enabled():
            again = formula(x, weight, bias, ctx.eps)
            needed = [tensor for tensor in (x, weight, bias) if tensor.requires_grad]
            found = iter(torch.autograd.grad(again, needed, slope, create_graph=True))
            return (*(next(found) if tensor.requires_grad else None for tensor in (x, weight, bias)), None)
        back = torch.ops.aten.native_batch_norm_backward
        inverse = (variance + ctx.eps).rsqrt()
        of_x, of_weight, of_bias = back(
            slope, x, weight, mean, variance, mean, inverse, False, ctx.eps, [True, True, True]
        )
        count = x.numel() // x.shape[1] * size()
        along, across = total(torch.stack([of_weight, of_bias])) / count
        # Less what moves the mean and the variance: weight * inverse * (across + along * (x - mean) * inverse).
        per_x = weight * inverse.square() * along
        constant = weight * inverse * across - per_x * mean
        shape = 1, -1, *[1] * (x.dim() - 2)
        exact = (
            of_x.to(weight.dtype).sub_(constant.view(shape)).addcmul_(x.to(weight.dtype), per_x.view(shape), value=-1)
        )
        return exact.to(x.dtype), of_weight, of_bias, None


def formula(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """BatchNorm by its formula, which can be differentiated any number of times."""
    given, x = x.dtype, x.to(weight.dtype)
    dims = [0, *range(2, x.dim())]
    shape = 1, -1, *[1] * (x.dim() - 2)
    count = x.numel() // x.shape[1] * size()
    mean = total(x.sum(dims)) / count
    centred = x - mean.view(shape)
    variance = total(centred.square().sum(dims)) / count
    return (centred * (weight * (variance + eps).rsqrt()).view(shape) + bias.view(shape)).to(given)
