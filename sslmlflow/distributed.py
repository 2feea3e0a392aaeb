"""What the processes that share one job tell each other; in one process everything is the identity.

Derivatives are those of the sum over the processes: a loss that every process computes from what was gathered, or from
its own images alone, has the right gradient once it is `averaged`. `gather`, `total` and `mean` can
be differentiated any number of times.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import islice
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from sslmlflow.errors import PartnerLostError

Part = TypeVar("Part")
WAIT = timedelta(days=1)  # at an agreement: for a process that reads its images, or measures a milestone
STEP_WAIT = timedelta(minutes=10)  # at the start and within a step, after which a partner is taken for lost
_agreeing: list[dist.ProcessGroup] = []  # the group that agrees, in the main memory, once there is one


@contextmanager
def together(backend: str) -> Iterator[None]:
    """Meet the other processes that the launcher started, and part from them at the end."""
    dist.init_process_group(backend, timeout=STEP_WAIT)
    group = dist.new_group(backend="gloo", timeout=WAIT)
    assert isinstance(group, dist.ProcessGroup)  # which a process that is not in it would not get
    _agreeing.append(group)
    try:
        yield
    finally:
        _agreeing.clear()
        dist.destroy_process_group()


def _agreement() -> dist.ProcessGroup | None:
    return _agreeing[0] if _agreeing else None


def size() -> int:
    """How many processes share the job."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if size() > 1 else 0


def gather(x: Tensor) -> Tensor:
    """Tensors (n, ...) of all processes, of the same shape, below each other in the order of the processes."""
    return _Gather.apply(x) if size() > 1 else x


def total(x: Tensor) -> Tensor:
    """The sum over the processes."""
    return _Total.apply(x) if size() > 1 else x


def mean(x: Tensor) -> Tensor:
    """The mean over the processes."""
    return total(x) / size() if size() > 1 else x


def share(count: int) -> slice:
    """Which of `count` rows, a multiple of the number of processes, are those of this process."""
    each = count // size()
    return slice(rank() * each, (rank() + 1) * each)


def own(x: Tensor, dim: int = 0) -> Tensor:
    """The rows of this process of what all processes have together; `gather` undoes it along dim 0."""
    part = share(x.shape[dim])
    return x.narrow(dim, part.start, part.stop - part.start)


def largest(number: int) -> int:
    """The largest of the numbers that the processes give; all must ask."""
    if size() == 1:
        return number
    asked = torch.tensor(number)
    with _partners():
        dist.all_reduce(asked, dist.ReduceOp.MAX, group=_agreement())
    return int(asked)


def any_true(flag: bool) -> bool:
    """Whether it is so in any process; all must ask."""
    return bool(largest(int(flag)))


def of_first(data: bytes) -> bytes:
    """What process 0 gives; all must ask."""
    if size() == 1:
        return data
    length = largest(len(data) if rank() == 0 else 0)
    sent = torch.frombuffer(bytearray(data if rank() == 0 else length), dtype=torch.uint8)
    with _partners():
        dist.broadcast(sent, 0, group=_agreement())
    return sent.numpy().tobytes()


def in_turns(parts: Sequence[Part], work: Callable[[Part], Sequence[Tensor]]) -> Iterator[list[Tensor]]:
    """What `work` makes of each part, in their order: tensors of any number of rows; all must ask.

    Each process does its share of the parts, and all receive what was made.
    """
    for first in range(0, len(parts), size()):
        made = work(parts[min(first + rank(), len(parts) - 1)])  # at the end some repeat the last
        by_process = zip(*(_of_each(tensor) for tensor in made), strict=True)
        yield from (list(tensors) for tensors in islice(by_process, len(parts) - first))


def _of_each(x: Tensor) -> list[Tensor]:
    """The tensor of each process; they may differ in their number of rows."""
    if size() == 1:
        return [x]
    counts = gather(torch.tensor([len(x)])).tolist()
    padded = x.new_zeros(max(counts), *x.shape[1:])
    padded[: len(x)] = x
    return [part[:count] for part, count in zip(gather(padded).split(max(counts)), counts, strict=True)]  # type: ignore[no-untyped-call]


def wait_for_first() -> None:
    """Return when process 0 has ended; it must not ask anything any more."""
    with suppress(PartnerLostError):
        largest(0)


@contextmanager
def _partners() -> Iterator[None]:
    """Report in a sentence that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error).lower()):
            raise
        raise PartnerLostError(
            "another process has ended or cannot be reached. Start the same command again: what was saved is kept."
        ) from error


def averaged(gradients: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The means of gradients over the processes, in one exchange; they cannot be differentiated."""
    if size() == 1 or not gradients:
        return tuple(gradient.detach() for gradient in gradients)
    flat = torch.cat([gradient.detach().flatten() for gradient in gradients])
    with _partners():
        dist.all_reduce(flat)
    parts = (flat / size()).split([gradient.numel() for gradient in gradients])  # type: ignore[no-untyped-call]
    return tuple(part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True))


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        summed = x.clone(memory_format=torch.contiguous_format)
        with _partners():
            dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return total(slope)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(size())]
        with _partners():
            dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return own(total(slope))
