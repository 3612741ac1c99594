"""What one training step computes and moves, counted on tensors without contents.

Operations: `torch.utils.flop_counter`, two per multiply-add, exact for the products it knows (matrix products,
convolutions, attention; a recurrent layer counts nothing), but for one thing: the weight gradient of a grouped
convolution, which torch's counter takes for an ungrouped one, is counted like its forward pass.

Bytes: every operation of the forward and the backward pass reads its arguments and writes its results once, as separate
kernels do; views move nothing. The update of momentum SGD reads weight, gradient and velocity, and writes two of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from raytt.pricing.work import StepWork
from raytt.task.nest import map_tensors
from raytt.task.task import Task
from raytt.training.datasets import open_dataset
from raytt.training.model import PreparedModel, prepare_as_trained
from raytt.training.objective import Objective

UPDATE_ACCESSES = 5
"""Reads and writes of a number per trainable weight in one update of SGD with momentum."""


def count_work(task: Task, batch_sizes: Sequence[int]) -> dict[int, StepWork]:
    """The work of a step at each batch size.

    The smallest and the largest are counted; between them a straight line is exact, as long as the network treats
    samples alike.

    Raises:
        Exception: Whatever the network raises when its tensors have no contents (it looks at their values, say).
    """
    model = prepare_as_trained(task)
    objective = Objective(task)
    batch = objective.read(open_dataset(task.data, task), [0])
    sizes = sorted({min(batch_sizes), max(batch_sizes)})
    counted = {size: _count(objective, model, batch, size) for size in sizes}
    return {size: _between(size, *counted.values()) for size in sorted(set(batch_sizes))}


def _between(size: int, first: StepWork, last: StepWork | None = None) -> StepWork:
    if last is None or last.batch_size == first.batch_size:
        return first
    share = (size - first.batch_size) / (last.batch_size - first.batch_size)
    return StepWork(
        batch_size=size,
        conv_flops=(1 - share) * first.conv_flops + share * last.conv_flops,
        other_flops=(1 - share) * first.other_flops + share * last.other_flops,
        num_bytes=(1 - share) * first.num_bytes + share * last.num_bytes,
        num_operations=max(first.num_operations, last.num_operations),
        dtype=first.dtype,
    )


class _Network(nn.Module):
    """A network together with its way from a batch to the loss, so that all its tensors can be replaced."""

    def __init__(self, model: PreparedModel, objective: Objective) -> None:
        super().__init__()
        self.inner = model.module
        self.model, self.objective = model, objective

    def forward(self, batch: Any) -> Tensor:
        return self.objective.value(self.model, batch)


def _count(objective: Objective, model: PreparedModel, batch: Any, size: int) -> StepWork:
    network = _Network(model, objective)
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    tensors = {
        name: fake.from_tensor(tensor.detach()).requires_grad_(tensor.requires_grad)
        for name, tensor in (*network.named_parameters(), *network.named_buffers())
    }
    repeated = map_tensors(lambda tensor: _repeat_rows(fake, tensor, size), batch)
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward_flops}
    )
    # The fused attention kernels are not all known to the counter; taken apart, their products are.
    with sdpa_kernel(SDPBackend.MATH), fake, counter, _Traffic() as traffic:
        loss = functional_call(network, tensors, (repeated,))
        weights = [tensor for tensor in tensors.values() if tensor.requires_grad]
        torch.autograd.grad(loss, weights, allow_unused=True)
    by_operation: Mapping[Any, int] = counter.get_flop_counts().get("Global", {})
    conv = sum(count for operation, count in by_operation.items() if "conv" in str(operation))
    update = UPDATE_ACCESSES * sum(p.numel() * p.element_size() for p in model.trainable.values())
    return StepWork(
        batch_size=size,
        conv_flops=float(conv),
        other_flops=float(sum(by_operation.values()) - conv),
        num_bytes=float(traffic.num_bytes + update),
        num_operations=traffic.num_operations,
        dtype=str(next(iter(model.trainable.values())).dtype).removeprefix("torch."),
    )


def _convolution_backward_flops(
    grad_shape: Any,
    inputs_shape: Any,
    weight_shape: Any,
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    wanted: Sequence[bool],
    **_: Any,
) -> int:
    """As many operations as the forward pass for the gradient of the inputs, and as many for that of the weights."""
    forward: int = conv_flop_count(inputs_shape, weight_shape, grad_shape, transposed=transposed)
    return forward * (int(wanted[0]) + int(wanted[1]))


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the sizes of what operations read and write, and counts them."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.num_bytes = self.num_operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        aliases = [returned.alias_info for returned in func._schema.returns]
        if func.namespace == "aten" and not any(alias is not None and not alias.is_write for alias in aliases):
            moved = (*tree_leaves((args, kwargs)), *tree_leaves(result))
            self.num_operations += 1
            self.num_bytes += sum(t.numel() * t.element_size() for t in moved if isinstance(t, Tensor))
        return result


def _repeat_rows(fake: FakeTensorMode, tensor: Tensor, size: int) -> Tensor:
    """A tensor without contents of ``size`` rows like the one given; a single number stays one."""
    shape = (size, *tensor.shape[1:]) if tensor.ndim else ()
    return fake.from_tensor(torch.empty_strided((0,), (1,), dtype=tensor.dtype)).new_empty(shape)
