"""Sketched Jacobian rows of a micro-batch, without ever holding a whole row unsketched.

Notation: n samples, C outputs, R sketch dimension, J_i = ∂f_i/∂w (C × D), S the sketch, w₀ the pre-trained weights.

Fast route: one watched forward pass, then for each output c one backward pass of Σ_i f_ic down to the results of the
layers that have trainable parameters (not to the parameters: no summed weight gradient is computed), and per layer the
contraction of output gradients with inputs to per-sample weight gradients, tile by tile, each tile sketched at once. On
processors products of few positions go into the sketch without a tile (`raytt.probe.layers.outer`). Parameters that the
plan gives to the generic route are done sample by sample with autograd.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from raytt.errors import InputError
from raytt.probe.capture import Capture
from raytt.probe.generic import gradient, single_outputs
from raytt.probe.layers.use import Budget, Emit, Layout, Site, Use, parts
from raytt.probe.sketch import Sketch
from raytt.task.task import Inputs
from raytt.training.model import PreparedModel

_ALONE = 128
"""Repeats of a layer's weights from which, on a processor, the output gradients of a group of outputs are not copied
into one tensor."""


@dataclass(frozen=True, kw_only=True)
class ProbePlan:
    """Which route each parameter takes, and where the samples are in each use; made once per network by `make_plan`."""

    num_samples: int
    """n, samples per micro-batch; the plan holds for this size only."""
    num_outputs: int
    """C."""
    layouts: Mapping[Site, Layout]
    """Uses on the fast route."""
    spread: frozenset[Site]
    """Uses whose result all samples share, repeated per sample."""
    generic: Mapping[str, str]
    """Parameters on the generic route, with the reason."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Jacobian rows of n samples."""

    outputs: Tensor
    """f, shape (n, C)."""
    rows: Tensor
    """J S, shape (n, C, R)."""
    radial: Tensor
    """J w₀, not sketched, shape (n, C)."""


def jacobian_rows(
    network: PreparedModel,
    inputs: Inputs,
    plan: ProbePlan,
    sketch: Sketch,
    budget: Budget,
    *,
    anchor: Mapping[str, Tensor] | None = None,
    count: int | None = None,
) -> Rows:
    """Outputs, sketched Jacobian rows and radial derivatives of a micro-batch.

    Args:
        network: The network at the tangent point.
        inputs: A micro-batch of ``plan.num_samples`` samples.
        plan: From `make_plan` for this network.
        sketch: S.
        budget: Bounds on transients.
        anchor: w₀ by parameter name; the network's present weights by default.
        count: Only the first ``count`` samples are wanted, the others are padding.

    Raises:
        InputError: If the outputs have another shape than the plan's.
    """
    n, C = plan.num_samples, plan.num_outputs
    count = n if count is None else count
    weights = network.trainable if anchor is None else anchor
    outputs, uses, missed = watch(network, inputs, plan)
    dtype = torch.promote_types(outputs.dtype, torch.float32)
    rows = torch.zeros(n, C, sketch.proj_dim, dtype=dtype, device=outputs.device)
    radial = torch.zeros(n, C, dtype=dtype, device=outputs.device)
    group = _group_size(uses, C, dtype, budget)
    for c0 in range(0, C, group) if uses else ():
        chosen = slice(c0, min(c0 + group, C))
        buffer = torch.zeros(n, chosen.stop - c0, sketch.buffer_dim, dtype=dtype, device=outputs.device)
        scalars = [outputs[:, c].sum() for c in range(c0, chosen.stop)]
        emit = _Sketched(sketch=sketch, buffer=buffer)
        radial[:, chosen] = contract(uses, scalars, plan.layouts, n, dtype, emit, budget, weights)
        rows[:, chosen] = sketch.finish(buffer)
    names = [name for name in network.trainable if name in plan.generic or name in missed]
    if names:
        _add_generic(network, inputs, names, sketch, weights, rows[:count], radial[:count])
    return Rows(outputs=outputs.detach()[:count], rows=rows[:count], radial=radial[:count])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Sketched:
    """Emitted gradients go into the sketches of their rows."""

    sketch: Sketch
    buffer: Tensor

    def __call__(self, samples: slice, outputs: slice, name: str, start: int, values: Tensor, /) -> None:
        self.sketch.accumulate(self.buffer[samples, outputs], name, start, values)

    def outer(self, samples: slice, outputs: slice, name: str, start: int, left: Tensor, right: Tensor) -> None:
        self.sketch.accumulate_outer(self.buffer[samples, outputs], name, start, left, right)


def watch(network: PreparedModel, inputs: Inputs, plan: ProbePlan) -> tuple[Tensor, list[Use], set[str]]:
    """A forward pass: outputs with their graph, the uses on the fast route, and parameters that must leave it now.

    A parameter leaves it for this micro-batch if the network uses it in another way than when the plan was made.
    """
    capture = Capture(network.trainable, spread=plan.spread, num_samples=plan.num_samples)
    with torch.enable_grad(), capture:
        outputs = network.forward(network.module, inputs)
    expected = (plan.num_samples, plan.num_outputs)
    if outputs.shape != expected:
        raise InputError(
            f"The network's outputs have shape {tuple(outputs.shape)}, but {expected} (samples, outputs) was expected.",
            "Give Task a `forward` whose outputs have the same width for every batch.",
        )
    missed = set(capture.opaque)
    for use in capture.uses:
        layout = plan.layouts.get(use.site)
        if layout is None or len(use.shape) <= layout.axis or use.shape[layout.axis] % plan.num_samples:
            missed |= {s.name for s in use.segments}
    return outputs, keep(capture.uses, missed | set(plan.generic)), missed


def keep(uses: Sequence[Use], without: set[str]) -> list[Use]:
    """The uses, less their segments of the parameters ``without``, less those of which no segment is left."""
    for use in uses:
        use.weight = None if use.weight is None or use.weight.name in without else use.weight
        use.bias = None if use.bias is None or use.bias.name in without else use.bias
    return [use for use in uses if use.segments]


def contract(
    uses: Sequence[Use],
    scalars: Sequence[Tensor],
    layouts: Mapping[Site, Layout],
    num_samples: int,
    dtype: torch.dtype,
    emit: Emit,
    budget: Budget,
    weights: Mapping[str, Tensor],
) -> Tensor:
    """Per-sample gradients of some scalars, each a sum over samples, emitted piece by piece.

    Returns:
        Their radial derivatives, shape ``(n, len(scalars))``.
    """
    grads: list[list[Tensor | None]] = [[] for _ in uses]
    edges = [use.edge for use in uses]
    for scalar in scalars:
        found: tuple[Tensor | None, ...] = torch.autograd.grad(scalar, edges, retain_graph=True, allow_unused=True)
        for use, grad, held in zip(uses, found, grads, strict=True):
            held.append(None if grad is None else use.fold(grad, layouts[use.site], num_samples))
    radial = torch.zeros(num_samples, len(scalars), dtype=dtype, device=scalars[0].device)
    with torch.no_grad():
        for u, use in enumerate(uses):
            together = _joined(use, grads[u], dtype)
            grads[u] = []
            if together:
                layout = layouts[use.site]
                if _few_weights(use, num_samples):
                    use.contract(together, layout, _with_radial(emit, radial, weights), budget)
                else:
                    use.contract(together, layout, emit, budget)
                    value = use.value(weights, layout, num_samples).to(dtype)
                    for outputs, part in parts(together):
                        order = _memory_order(part[:, 0])
                        left = part.permute(0, 1, *(a + 1 for a in order)).flatten(2)
                        right = value.permute(0, *order).flatten(1).unsqueeze(2)
                        radial[:, outputs] += torch.bmm(left, right).squeeze(2)
    return radial


def _joined(use: Use, folded: Sequence[Tensor | None], dtype: torch.dtype) -> list[Tensor]:
    """Tensors ``(n, …)``, one per output, in parts (n, outputs, …): each alone where copying them would cost much.

    In their own memory order if the use allows: output gradients of channels-last convolutions and of linear layers
    come with their units innermost, and to bring each into another order takes longer than most of what is then done
    with it.
    """
    first = next((g for g in folded if g is not None), None)
    if first is None:
        return []
    if use.any_order and use.repeats(len(first)) >= _ALONE and first.device.type == "cpu":
        return [(torch.zeros_like(first) if g is None else g).to(dtype).unsqueeze(1) for g in folded]
    order = _memory_order(first) if use.any_order else list(range(1, first.ndim))
    ordered = [(torch.zeros_like(first) if g is None else g).permute(0, *order) for g in folded]
    together = torch.stack(ordered, dim=1).to(dtype)
    return [together.permute(0, 1, *(2 + order.index(a) for a in range(1, first.ndim)))]


def _memory_order(tensor: Tensor) -> list[int]:
    """Its axes but the first, from the one along which memory is traversed slowest to the fastest."""
    return sorted(range(1, tensor.ndim), key=tensor.stride, reverse=True)


def _with_radial(emit: Emit, radial: Tensor, weights: Mapping[str, Tensor]) -> Emit:
    """Also multiply each piece with the weights, instead of computing ⟨γ, A(x) w₀⟩."""

    def both(samples: slice, outputs: slice, name: str, start: int, values: Tensor) -> None:
        emit(samples, outputs, name, start, values)
        piece = weights[name].detach().reshape(-1)[start : start + values.shape[-1]]
        radial[samples, outputs] += values @ piece.to(values.dtype)

    return both


def _few_weights(use: Use, num_samples: int) -> bool:
    """Whether multiplying gradients with w₀ is cheaper than applying the layer again with weights w₀."""
    weights = sum(s.shape.numel() for s in use.segments)
    return weights <= use.shape.numel() // num_samples or use.repeats(num_samples) >= 32


def _group_size(uses: Sequence[Use], num_outputs: int, dtype: torch.dtype, budget: Budget) -> int:
    """How many outputs are contracted together, in equal groups: as many as their gradients fit in the budget."""
    per_output = sum(use.shape.numel() for use in uses) * torch.empty(0, dtype=dtype).element_size()
    most = max(1, min(num_outputs, budget.max_bytes // max(1, per_output)))
    return -(-num_outputs // -(-num_outputs // most))


def _add_generic(
    network: PreparedModel,
    inputs: Inputs,
    names: Sequence[str],
    sketch: Sketch,
    weights: Mapping[str, Tensor],
    rows: Tensor,
    radial: Tensor,
) -> None:
    for i in range(rows.shape[0]):
        outputs = single_outputs(network, inputs, i)
        for c in range(rows.shape[1]):
            buffer = torch.zeros(sketch.buffer_dim, dtype=rows.dtype, device=rows.device)
            for name, grad in gradient(outputs[c], network, names):
                values = grad.to(rows.dtype)
                sketch.accumulate(buffer, name, 0, values)
                radial[i, c] += values @ weights[name].detach().reshape(-1).to(rows.dtype)
            rows[i, c] += sketch.finish(buffer)
