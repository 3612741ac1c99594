"""How fast sketched Jacobian rows are, beside what one would use instead: ``python -m benchmarks.probe``.

One thread, processor time (other jobs on the machine disturb it less than wall time), medians of interleaved repeats.
The routes give the same rows at the same R:

* backward passes: one forward pass and, for each output, the backward pass of the batch down to the layers' results;
  no parameter gradient, no sketch: the floor of any method.
* per-sample gradients: the same and each layer's per-sample weight gradients, thrown away instead of sketched.
* raytt: `raytt.probe.jacobian.jacobian_rows`, with the rows' radial derivatives.
* autograd loop, vmap(vjp), vmap(jacrev): whole rows by torch, then the same CountSketch.
* TRAK: the autograd loop and the CPU projector of the package traker (0.3.2), if it is installed. It makes its dense
  Rademacher matrix anew in blocks of 100 columns: some blocks are timed, and the time for R columns is
  scaled up from them.

Gram error: root mean square over pairs of rows of (ẑ_a·ẑ_b − j_a·j_b) / (|j_a| |j_b|), times √R; the aim is 1.2.
Memory: the most that a route adds to the process, MiB.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vjp, vmap

from benchmarks.report import table, write
from raytt.examples import digits, docstrings
from raytt.probe.generic import gradient, single_outputs, take
from raytt.probe.jacobian import ProbePlan, jacobian_rows, watch
from raytt.probe.layers.use import Budget
from raytt.probe.plan import make_plan
from raytt.probe.sketch import CountSketch
from raytt.task.task import Inputs, Task
from raytt.training.datasets import load_batch, open_dataset
from raytt.training.model import PreparedModel, prepare_model

PROJ_DIM = 4096
BUDGET = Budget(max_bytes=512 * 2**20)
TRAK_BLOCK = 100
"""Columns that TRAK's projector makes at a time by default."""
TRAK_BLOCKS = 1
"""How many of them are timed here."""


class _Vision(nn.Module):
    """A ViT-Ti/16 (Dosovitskiy et al. 2021; 12 layers, width 192, 197 tokens) with random weights."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 192, 16, stride=16)
        self.first = nn.Parameter(torch.zeros(1, 1, 192))
        self.positions = nn.Parameter(torch.randn(1, 197, 192) * 0.02)
        layer = nn.TransformerEncoderLayer(
            192, 3, 768, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 12, enable_nested_tensor=False)
        self.head = nn.Linear(192, 10)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.first.expand(len(images), -1, -1), tokens), dim=1) + self.positions
        logits: Tensor = self.head(self.encoder(x)[:, 0])
        return logits


def _vision() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _Vision()


def _images(size: int) -> Callable[[], tuple[Tensor, Tensor]]:
    def load() -> tuple[Tensor, Tensor]:
        images, labels = digits.train_data()
        return nn.functional.interpolate(images[:32], size=size, mode="bilinear"), labels[:32]

    return load


def efficientnet(size: int) -> Task:
    """The digits example's network on its images at another size in pixels."""
    return Task(
        mode="eval",
        name=f"efficientnet-lite0-{size}px",
        model=digits.build_model,
        data=_images(size),
        forward=digits.forward,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A network and the samples it is measured on."""

    network: PreparedModel
    inputs: Inputs
    """A micro-batch of n samples."""
    plan: ProbePlan
    sketch: CountSketch
    few: int
    """Samples of which the slow routes compute rows."""

    @property
    def names(self) -> list[str]:
        """Trainable parameters."""
        return list(self.network.trainable)


def case_of(task: Task, samples: int, few: int) -> Case:
    """The first samples of a task."""
    network = prepare_model(task)
    inputs, _ = load_batch(task, open_dataset(task.data, task), list(range(samples)))
    plan = make_plan(network, inputs, samples, BUDGET)
    return Case(network=network, inputs=inputs, plan=plan, sketch=CountSketch(PROJ_DIM, 0), few=few)


class _Discard:
    """A sketch that drops what it is given: leaves the cost of making per-sample gradients."""

    label = "none"
    proj_dim = buffer_dim = 1

    def accumulate(self, buffer: Tensor, name: str, start: int, values: Tensor) -> None:
        """Nothing."""

    def accumulate_outer(self, buffer: Tensor, name: str, start: int, left: Tensor, right: Tensor) -> None:
        """Makes the values only, sample by sample in the same memory."""
        n, C, U, P = left.shape
        scratch = left.new_empty(1, C * U, right.shape[2])
        for i in range(n):
            torch.bmm(left[i : i + 1].reshape(1, C * U, P), right[i : i + 1], out=scratch)

    def finish(self, buffer: Tensor) -> Tensor:
        """Zeros."""
        return buffer


def backward_passes(case: Case) -> None:
    """The floor."""
    outputs, uses, _ = watch(case.network, case.inputs, case.plan)
    edges = [use.edge for use in uses]
    for c in range(case.plan.num_outputs):
        torch.autograd.grad(outputs[:, c].sum(), edges, retain_graph=True, allow_unused=True)


def per_sample_gradients(case: Case) -> None:
    """Rows that are thrown away."""
    jacobian_rows(case.network, case.inputs, case.plan, _Discard(), BUDGET)


def raytt_rows(case: Case) -> Tensor:
    """What raytt does."""
    return jacobian_rows(case.network, case.inputs, case.plan, case.sketch, BUDGET).rows.flatten(0, 1)


def _whole_rows(case: Case, sample: int) -> list[dict[str, Tensor]]:
    outputs = single_outputs(case.network, case.inputs, sample)
    return [dict(gradient(output, case.network, case.names)) for output in outputs]


def autograd_loop(case: Case) -> Tensor:
    """One backward pass per row."""
    return torch.stack([_sketched(case, row) for i in range(case.few) for row in _whole_rows(case, i)])


def _sketched(case: Case, row: Mapping[str, Tensor]) -> Tensor:
    buffer = torch.zeros(case.sketch.buffer_dim)
    for name, values in row.items():
        case.sketch.accumulate(buffer, name, 0, values)
    return case.sketch.finish(buffer)


class _Forward(nn.Module):
    """A network as the module that ``torch.func`` wants."""

    def __init__(self, network: PreparedModel) -> None:
        super().__init__()
        self.inner, self._call = network.module, network.forward

    def forward(self, inputs: Inputs) -> Tensor:
        # Not through the image tasks' own forward, which asks for channels-last inputs: torch.func cannot do that.
        outputs: Tensor = self._call(self.inner, inputs) if isinstance(inputs, Mapping) else self.inner(inputs)
        return outputs


def _functional(case: Case) -> tuple[Callable[[dict[str, Tensor], Inputs], Tensor], dict[str, Tensor]]:
    module = _Forward(case.network)
    parameters = {f"inner.{name}": p.detach() for name, p in case.network.trainable.items()}

    def single(weights: dict[str, Tensor], inputs: Inputs) -> Tensor:
        outputs: Tensor = functional_call(module, weights, (inputs,))
        return outputs.reshape(-1)

    return single, parameters


def _stacked(case: Case, jacobian: Mapping[str, Tensor]) -> Tensor:
    """Sketches of rows given as ``(rows, *shape)`` per parameter."""
    rows = next(iter(jacobian.values())).shape[0]
    buffer = torch.zeros(rows, case.sketch.buffer_dim)
    for name, values in jacobian.items():
        case.sketch.accumulate(buffer, name.removeprefix("inner."), 0, values.reshape(rows, -1))
    return case.sketch.finish(buffer)


def vmap_vjp(case: Case) -> Tensor:
    """All outputs of a sample in one batched backward pass."""
    single, parameters = _functional(case)
    found = []
    for i in range(case.few):
        inputs = take(case.inputs, i)
        _, pull = vjp(lambda weights, inputs=inputs: single(weights, inputs), parameters)  # type: ignore[misc]
        found.append(_stacked(case, vmap(pull)(torch.eye(case.plan.num_outputs))[0]))
    return torch.cat(found)


def vmap_jacrev(case: Case) -> Tensor:
    """All outputs of all samples at once."""
    single, parameters = _functional(case)
    inputs = case.inputs
    few = {k: v[: case.few] for k, v in inputs.items()} if isinstance(inputs, Mapping) else inputs[: case.few]

    def alone(weights: dict[str, Tensor], sample: Any) -> Tensor:
        one = {k: v.unsqueeze(0) for k, v in sample.items()} if isinstance(sample, dict) else sample.unsqueeze(0)
        return single(weights, one)

    jacobian = vmap(jacrev(alone), in_dims=(None, 0))(parameters, few)
    return _stacked(case, {name: values.flatten(0, 1) for name, values in jacobian.items()})


def exact_gram(case: Case) -> Tensor:
    """Inner products of the unsketched rows of the first samples, (rows, rows)."""
    rows = [row for i in range(case.few) for row in _whole_rows(case, i)]
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for name in case.names:
        values = torch.stack(
            [row.get(name, torch.zeros(1)).expand(case.network.trainable[name].numel()) for row in rows]
        )
        gram += (values @ values.T).double()
    return gram


def gram_error(rows: Tensor, gram: Tensor) -> float:
    """See the module's docstring."""
    wide = rows.double()
    lengths = gram.diagonal().sqrt()
    relative = (wide @ wide.T - gram) / torch.outer(lengths, lengths)
    off = ~torch.eye(len(gram), dtype=torch.bool)
    return float(relative[off].square().mean().sqrt()) * math.sqrt(rows.shape[1])


def trak(case: Case) -> Tensor:
    """Whole rows, then `TRAK_BLOCKS` blocks of TRAK's columns, so scaled that inner products are unbiased."""
    projectors = importlib.import_module("trak.projectors")
    rows = torch.stack(
        [torch.cat([row[name] for name in case.names]) for i in range(case.few) for row in _whole_rows(case, i)]
    )
    columns = TRAK_BLOCK * TRAK_BLOCKS
    projector = projectors.BasicProjector(
        rows.shape[1], columns, 0, projectors.ProjectionType.rademacher, torch.device("cpu"), block_size=TRAK_BLOCK
    )
    projected: Tensor = projector.project(rows, model_id=0)
    return projected / math.sqrt(columns)


ROUTES: dict[str, Callable[[Case], Tensor | None]] = {
    "backward passes": backward_passes,
    "per-sample gradients": per_sample_gradients,
    "raytt": raytt_rows,
    "autograd loop": autograd_loop,
    "vmap(vjp)": vmap_vjp,
    "vmap(jacrev)": vmap_jacrev,
    "TRAK": trak,
}
BATCHED = ("backward passes", "per-sample gradients", "raytt")


def _memory(field: str) -> float:
    """``VmRSS`` or its peak ``VmHWM`` of this process, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def measure(case: Case, repeats: int) -> dict[str, dict[str, Any]]:
    """Milliseconds per row, MiB and Gram error × √R of each route; what a route that cannot do it says."""
    gram = exact_gram(case)
    seconds: dict[str, list[float]] = {name: [] for name in ROUTES}
    found: dict[str, dict[str, Any]] = {}
    for repeat in range(repeats):
        for name, route in ROUTES.items():
            if "failed" in found.get(name, {}) or (name == "TRAK" and repeat > 0):
                continue
            # Memory that earlier routes have freed goes back to the system, then the peak is counted anew (Linux).
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
            held, begin = _memory("VmRSS"), time.process_time()
            try:
                rows = route(case)
            except (RuntimeError, ImportError, NotImplementedError) as error:
                found[name] = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"}
                continue
            seconds[name].append(time.process_time() - begin)
            if repeat == 0:
                found[name] = {
                    "mib": _memory("VmHWM") - held,
                    "error": None if rows is None else gram_error(rows[: len(gram)], gram),
                }
    for name, times in seconds.items():
        if times:
            samples = case.plan.num_samples if name in BATCHED else case.few
            found[name]["ms"] = 1e3 * float(np.median(times)) / (samples * case.plan.num_outputs)
    _scale_trak(found)
    return found


def _scale_trak(found: dict[str, dict[str, Any]]) -> None:
    """From the timed blocks to R columns; the rows themselves cost what the loop costs."""
    if "ms" in found["TRAK"]:
        rows = found["autograd loop"]["ms"]
        blocks = PROJ_DIM / (TRAK_BLOCK * TRAK_BLOCKS)
        found["TRAK"]["ms"] = rows + max(0.0, found["TRAK"]["ms"] - rows) * blocks


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", dest="json_file")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    vision = Task(mode="eval", name="vit-ti16-224px", model=_vision, data=_images(224))
    setups = [(efficientnet(32), 16, 2), (efficientnet(48), 16, 2), (efficientnet(224), 2, 1)]
    setups += [(docstrings.task, 16, 2), (vision, 2, 1)]
    figures = {}
    body = f"R = {PROJ_DIM}, {arguments.repeats} repeats, one thread; milliseconds of processor time per row. "
    body += "TRAK makes its matrix anew for each call, here for the rows of the few samples: more rows per call share "
    body += "that cost.\n"
    for task, samples, few in setups:
        case = case_of(task, samples, few)
        figures[task.name] = found = measure(case, arguments.repeats)
        own = found["raytt"]["ms"]
        rows = [
            [name, f["failed"], "", "", "", ""]
            if "failed" in f
            else [
                name,
                f"{f['ms']:.2f}",
                f"{1e3 / f['ms']:.1f}",
                f"{f['ms'] / own:.2f}",
                f"{f['mib']:.0f}",
                "" if f["error"] is None else f"{f['error']:.2f}",
            ]
            for name, f in found.items()
        ]
        header = ["route", "ms per row", "rows per second", "× raytt's time", "MiB", "Gram error × √R"]
        count = f"{case.network.num_trainable:,} weights, {samples} samples × {case.plan.num_outputs} outputs"
        body += f"\n## {task.name}\n\n{count}; slow routes: {few} of the samples.\n\n{table(header, rows)}\n"
        print(body)
    write("probe", "python -m benchmarks.probe", body, figures=figures, json_file=arguments.json_file)


if __name__ == "__main__":
    main()
