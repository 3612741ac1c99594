"""Chooses the route of each parameter, and proves the choice on a micro-batch before it is used.

Nothing is taken on trust: the layout of every use is derived from how shapes scale with the number of samples, and the
per-sample gradients of the fast route are compared, parameter by parameter, with autograd on single samples. What
disagrees goes to the generic route, which is always right and slow. A network whose samples influence each other has no
per-sample gradient and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from raytt.errors import InputError
from raytt.probe.capture import Capture
from raytt.probe.generic import gradient, single_outputs
from raytt.probe.jacobian import ProbePlan, contract, keep, watch
from raytt.probe.layers.embedding import EmbeddingUse
from raytt.probe.layers.use import Budget, Layout, Site, Use
from raytt.probe.sketch import CountSketch
from raytt.task.task import Inputs
from raytt.training.model import PreparedModel

_CHECK_DIM = 1024
"""Gradients are compared in a sketch of this dimension: two that differ have equal sketches with negligible chance."""


def micro_batch_size(network: PreparedModel, inputs: Inputs, most: int, budget: Budget) -> int:
    """How many of ``most`` samples to run together, in equal parts.

    Few enough that the output gradients of all C outputs fit in the budget at once, so that each layer's input is
    unfolded only once for all outputs; but at least two, so that coupled samples are noticed.
    """
    capture, outputs = _watch_alone(network, inputs)
    per_output = sum(use.shape.numel() for use in capture.uses) * max(4, outputs.element_size())
    fit = max(2, budget.max_bytes // max(1, per_output * outputs.numel()))
    return -(-most // -(-most // min(fit, most)))


def make_plan(network: PreparedModel, inputs: Inputs, num_samples: int, budget: Budget) -> ProbePlan:
    """The routes for micro-batches of this size, checked on one of them.

    Args:
        network: The network at the tangent point.
        inputs: A micro-batch of ``num_samples`` samples.
        num_samples: n.
        budget: Bounds on transients.

    Raises:
        InputError: If a sample cannot be run alone, its outputs depend on the other samples or on chance, or no output
            depends on any trainable parameter.
    """
    chosen = sorted({0, min(1, num_samples - 1), num_samples // 2, num_samples - 1})
    singles = {i: _run_single(network, inputs, i) for i in chosen}
    capture, outputs = _run_batch(network, inputs, num_samples)
    _check_coupling(outputs, singles, chosen)
    alone, _ = _watch_alone(network, inputs)
    plan = _lay_out(capture, {use.site: use for use in alone.uses}, outputs, num_samples)
    if plan.spread:
        plan = _try_spread(network, inputs, plan, outputs)
    check = CountSketch(_CHECK_DIM, 0)
    signs = _signs(num_samples, plan.num_outputs)
    reference = {i: _gradients(network, singles[i], signs[i], check) for i in chosen}
    if not any(reference.values()):
        raise InputError(
            "The network's outputs do not depend on any trainable parameter.",
            "Choose parameters that are used, and check that the forward pass is not under torch.no_grad().",
        )
    return _verify(network, inputs, plan, reference, check, budget)


def smaller_plan(
    network: PreparedModel, inputs: Inputs, plan: ProbePlan, num_samples: int, budget: Budget
) -> ProbePlan:
    """The same routes for smaller micro-batches: axes of samples do not depend on their number. Checked like new ones.

    Args:
        network: The network at any tangent point.
        inputs: A micro-batch of ``num_samples`` samples.
        plan: From `make_plan`, for more samples.
        num_samples: n ≥ 1.
        budget: Bounds on transients.
    """
    check = CountSketch(_CHECK_DIM, 0)
    signs = _signs(num_samples, plan.num_outputs)
    chosen = sorted({0, num_samples // 2, num_samples - 1})
    reference = {i: _gradients(network, _run_single(network, inputs, i), signs[i], check) for i in chosen}
    return _verify(network, inputs, replace(plan, num_samples=num_samples), reference, check, budget)


def check_alone(network: PreparedModel, inputs: Inputs, outputs: Tensor) -> None:
    """Hold a batch's outputs against those of its first and last sample alone, where a plan is for single samples.

    Args:
        network: The network.
        inputs: A batch of at least two samples.
        outputs: Its outputs, shape ``(n, C)``.

    Raises:
        InputError: If they differ: then a plan for one sample at a time, which cannot notice, would be wrong.
    """
    chosen = [0, len(outputs) - 1]
    _check_coupling(outputs, {i: _run_single(network, inputs, i).detach() for i in chosen}, chosen)


def _watch_alone(network: PreparedModel, inputs: Inputs) -> tuple[Capture, Tensor]:
    capture = Capture(network.trainable)
    with capture:
        return capture, _run_single(network, inputs, 0)


def _run_single(network: PreparedModel, inputs: Inputs, sample: int) -> Tensor:
    try:
        return single_outputs(network, inputs, sample)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"The network cannot be run on a single sample ({error}), so its samples are not independent.",
            "Use norms without batch statistics, and a `forward` that works for any batch size.",
        ) from error


def _run_batch(network: PreparedModel, inputs: Inputs, num_samples: int) -> tuple[Capture, Tensor]:
    capture = Capture(network.trainable)
    with torch.enable_grad(), capture:
        outputs = network.forward(network.module, inputs)
    if outputs.ndim != 2 or outputs.shape[0] != num_samples:
        raise InputError(
            f"The network's outputs for {num_samples} samples have shape {tuple(outputs.shape)}; raytt needs "
            "(samples, outputs).",
            "Give Task a `forward` that flattens them to two dimensions.",
        )
    return capture, outputs


def _check_coupling(outputs: Tensor, singles: Mapping[int, Tensor], chosen: list[int]) -> None:
    batched = outputs.detach()[chosen].double()
    alone = torch.stack([singles[i].detach() for i in chosen]).double()
    scale = float(batched.abs().max())
    worst = float((alone - batched).abs().max())
    if math.isfinite(worst) and worst > _tolerance(outputs.dtype) * scale:
        raise InputError(
            f"A sample's outputs change by {worst:.2g} (of at most {scale:.2g}) with the samples batched with it, or "
            "from one pass to the next: there is no per-sample gradient.",
            "Use norms with stored statistics or group norm, and no randomness in the forward pass.",
        )


def _lay_out(capture: Capture, alone: Mapping[Site, Use], outputs: Tensor, num_samples: int) -> ProbePlan:
    layouts: dict[Site, Layout] = {}
    spread: set[Site] = set()
    generic = {name: f"used by {function}" for name, function in capture.opaque.items()}
    touched = _touched(capture.uses, outputs) if num_samples > 1 else {}
    for use in capture.uses:
        single = alone.get(use.site)
        layout = None if single is None else _layout(use, single, num_samples, touched.get(use.site))
        if layout is not None:
            layouts[use.site] = layout
        elif single is not None and isinstance(use, EmbeddingUse) and use.shape == single.shape and use.shape[0] == 1:
            layouts[use.site] = Layout(axis=0)
            spread.add(use.site)
        else:
            for segment in use.segments:
                generic.setdefault(segment.name, f"{use.kind} does not keep samples apart")
    return ProbePlan(
        num_samples=num_samples,
        num_outputs=outputs.shape[1],
        layouts=layouts,
        spread=frozenset(spread),
        generic=generic,
    )


def _layout(use: Use, single: Use, num_samples: int, touched: Tensor | None) -> Layout | None:
    """The axis that is n times as long for n samples as for one; None if there is none or the use cannot handle it."""
    if num_samples == 1:
        return next((Layout(axis=a) for a in range(len(use.shape)) if use.allows(a)), None)
    if len(use.shape) != len(single.shape):
        return None
    grown = [a for a, (size, one) in enumerate(zip(use.shape, single.shape, strict=True)) if size != one]
    if len(grown) != 1 or not use.allows(grown[0]):
        return None
    (axis,) = grown
    k = single.shape[axis]
    if use.shape[axis] != k * num_samples:
        return None
    if k == 1:
        return Layout(axis=axis)
    # Flattened with k other positions: sample 1's output has a gradient at sample 1's positions only.
    if touched is None:
        return None
    positions = touched.movedim(axis, 0).flatten(1).any(dim=1)
    sample_1 = [i == 1 for i in range(num_samples)]
    fits = [
        minor
        for minor in (False, True)
        if Layout(axis=0, minor=minor).split(positions, num_samples).any(dim=1).tolist() == sample_1
    ]
    return Layout(axis=axis, minor=fits[0]) if len(fits) == 1 else None


def _touched(uses: list[Use], outputs: Tensor) -> dict[Site, Tensor]:
    """Where the outputs of sample 1 have a gradient, per use."""
    total = (outputs[1] * _signs(*outputs.shape)[1].to(outputs)).sum()
    if not uses or not total.requires_grad:
        return {}
    grads = torch.autograd.grad(total, [use.edge for use in uses], allow_unused=True, retain_graph=True)
    return {use.site: grad != 0 for use, grad in zip(uses, grads, strict=True) if grad is not None}


def _try_spread(network: PreparedModel, inputs: Inputs, plan: ProbePlan, outputs: Tensor) -> ProbePlan:
    """The plan if the network gives the same outputs with shared results repeated per sample, else one without that."""
    names = {site[1].rpartition("+")[0] for site in plan.spread}
    try:
        repeated, _, missed = watch(network, inputs, plan)
        scale = float(outputs.detach().abs().max())
        same = torch.allclose(repeated, outputs, rtol=0.0, atol=_tolerance(outputs.dtype) * scale)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, InputError):
        same, missed = False, names
    if same and not names & missed:
        return plan
    generic = {**plan.generic, **dict.fromkeys(names, "shared by all samples")}
    return replace(plan, spread=frozenset(), generic=generic)


def _gradients(network: PreparedModel, outputs: Tensor, signs: Tensor, check: CountSketch) -> dict[str, Tensor]:
    """Sketched gradient of one sample's outputs, added up with signs, per parameter."""
    scalar = (outputs * signs.to(outputs)).sum()
    return {name: _sketched(check, name, grad) for name, grad in gradient(scalar, network, list(network.trainable))}


def _sketched(check: CountSketch, name: str, grad: Tensor) -> Tensor:
    values = grad.to(torch.promote_types(grad.dtype, torch.float32))
    buffer = values.new_zeros(check.buffer_dim)
    check.accumulate(buffer, name, 0, values)
    return check.finish(buffer)


class _PerParameter:
    """Sketches of emitted gradients, each parameter's apart, of some samples."""

    def __init__(self, check: CountSketch, samples: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        self.found: dict[str, Tensor] = {}
        self._check = check
        self._samples = samples
        self._dtype = dtype
        self._device = device

    def __call__(self, samples: slice, outputs: slice, name: str, start: int, values: Tensor, /) -> None:
        for row, i in self._rows(samples):
            self._check.accumulate(self._buffer(name)[row], name, start, values[i, 0])

    def outer(self, samples: slice, outputs: slice, name: str, start: int, left: Tensor, right: Tensor) -> None:
        for row, i in self._rows(samples):
            buffer = self._buffer(name)[row].view(1, 1, -1)
            self._check.accumulate_outer(buffer, name, start, left[i : i + 1], right[i : i + 1])

    def _rows(self, samples: slice) -> list[tuple[int, int]]:
        """Of the samples wanted: their rows, and where they are in what was emitted."""
        wanted = enumerate(self._samples)
        return [(row, i - samples.start) for row, i in wanted if samples.start <= i < samples.stop]

    def _buffer(self, name: str) -> Tensor:
        if name not in self.found:
            shape = (len(self._samples), self._check.buffer_dim)
            self.found[name] = torch.zeros(shape, dtype=self._dtype, device=self._device)
        return self.found[name]


def _verify(
    network: PreparedModel,
    inputs: Inputs,
    plan: ProbePlan,
    reference: Mapping[int, Mapping[str, Tensor]],
    check: CountSketch,
    budget: Budget,
) -> ProbePlan:
    outputs, uses, missed = watch(network, inputs, plan)
    generic = {**plan.generic, **dict.fromkeys(missed - set(plan.generic), "used differently from pass to pass")}
    dtype = torch.promote_types(outputs.dtype, torch.float32)
    order = list(reference)
    emit = _PerParameter(check, order, dtype, outputs.device)
    uses = keep(uses, set(generic))
    if uses:
        scalar = (outputs * _signs(plan.num_samples, plan.num_outputs).to(outputs)).sum()
        contract(uses, [scalar], plan.layouts, plan.num_samples, dtype, emit, budget, network.trainable)
    tolerance = _tolerance(outputs.dtype)
    for row, i in enumerate(order):
        expected = reference[i]
        whole = math.sqrt(sum(float(g.square().sum()) for g in expected.values()))
        for name in network.trainable:
            want = expected.get(name, torch.zeros((), dtype=dtype))
            have = check.finish(emit.found[name][row]) if name in emit.found else torch.zeros((), dtype=dtype)
            error = float((have - want.to(have.device)).norm())
            if not error <= tolerance * (float(want.norm()) + 0.01 * whole):
                generic.setdefault(name, "its per-sample gradients failed the check against autograd")
    return replace(plan, generic={name: generic[name] for name in network.trainable if name in generic})


def _signs(num_samples: int, num_outputs: int) -> Tensor:
    """A fixed sign per sample and output, ``(n, C)``."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 2, (num_samples, num_outputs), generator=generator).double() * 2 - 1


def _tolerance(dtype: torch.dtype) -> float:
    """Relative difference put down to rounding: 1e-3 in single precision, 5e-8 in double."""
    return min(0.1, 3.0 * math.sqrt(torch.finfo(dtype).eps))
