"""Other ways to compute sketched Jacobian rows that were tried: ``python -m benchmarks.probe_variants``.

Per layer: the weight gradients Σ_p γ[o, p] a[p, k] of n samples × C outputs are made and added to their sketches. One
thread, processor time per row, medians of interleaved repeats.

* tiles: a tile of gradients is made, in fresh or in reused memory, then signed and added to the rows' sketches, by
  torch operations for each run of coordinates or by one call of a compiled loop.
* compiled, no tile: products go straight into the sketches (`raytt.probe.kernels.add_outer`).
* fused: signs that are a product of one per unit and one per input go into γ and a, and the products are added straight
  to the sketches, block by block: another law of the sketch, that has no tile at all.

A depthwise convolution's weight gradients: its input unfolded and multiplied, or a compiled loop.

Whole probe of EfficientNet-Lite0 at 32 pixels and of MiniLM: tile shapes; C copies of the batch in one backward pass.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.probe import PROJ_DIM, Case, backward_passes, case_of, efficientnet
from benchmarks.report import table, write
from raytt.examples import docstrings
from raytt.probe.capture import Capture
from raytt.probe.jacobian import jacobian_rows
from raytt.probe.kernels import Geometry, add_outer, add_values, depthwise
from raytt.probe.layers.use import Budget


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """Gradients and inputs of one layer."""

    grads: Tensor
    """γ, shape (n, C, U, P)."""
    inputs: Tensor
    """a, shape (n, P, K)."""
    buffer: Tensor
    """Sketches, shape (n, C, 2R)."""
    signs: Tensor
    """±1, shape (U·K,)."""
    shifts: list[int]
    """One per block of R coordinates, or of whole rows."""

    @classmethod
    def of(cls, n: int, outputs: int, units: int, inputs: int, positions: int) -> Layer:
        """Random ones."""
        draw = torch.Generator().manual_seed(0)
        return cls(
            grads=torch.randn(n, outputs, units, positions, generator=draw),
            inputs=torch.randn(n, positions, inputs, generator=draw),
            buffer=torch.zeros(n, outputs, 2 * PROJ_DIM),
            signs=torch.randint(0, 2, (units * inputs,), generator=draw).float() * 2 - 1,
            shifts=torch.randint(0, PROJ_DIM, (units,), generator=draw).tolist(),
        )


def tiles(layer: Layer, tile_bytes: int, tile_rows: int, *, reuse: bool) -> None:
    """As `raytt.probe.layers.outer` and `raytt.probe.sketch` do."""
    n, C, U, P = layer.grads.shape
    K = layer.inputs.shape[-1]
    step = max(1, min(n, tile_rows // C))
    units = max(1, min(U, tile_bytes // (4 * step * C * K)))
    scratch = torch.empty(step * C * units * K) if reuse else None
    for s0 in range(0, n, step):
        a = layer.inputs[s0 : s0 + step]
        for u0 in range(0, U, units):
            left = layer.grads[s0 : s0 + step, :, u0 : u0 + units].flatten(1, 2)
            count = left.shape[0] * left.shape[1] * K
            out = None if scratch is None else scratch[:count].view(*left.shape[:2], K)
            tile = torch.mul(left, a, out=out) if P == 1 else torch.bmm(left, a, out=out)
            _add(layer, slice(s0, s0 + step), u0 * K, tile.view(left.shape[0], C, -1))


def compiled_tiles(layer: Layer, tile_bytes: int, tile_rows: int) -> None:
    """As `raytt.probe.layers.outer` does with many positions."""
    n, C, U, P = layer.grads.shape
    K = layer.inputs.shape[-1]
    step = max(1, min(n, tile_rows // C))
    units = max(1, min(U, tile_bytes // (4 * step * C * K)))
    scratch = torch.empty(step * C * units * K)
    for s0 in range(0, n, step):
        for u0 in range(0, U, units):
            left = layer.grads[s0 : s0 + step, :, u0 : u0 + units]
            tile = scratch[: left.shape[0] * C * left.shape[2] * K].view(left.shape[0], C, left.shape[2], K)
            for i in range(left.shape[0]):
                torch.bmm(left[i], layer.inputs[s0 + i].expand(C, P, K), out=tile[i])
            values = tile.view(left.shape[0], C, -1)
            signs = layer.signs[u0 * K : u0 * K + values.shape[-1]]
            add_values(layer.buffer[s0 : s0 + step], signs, np.array(layer.shifts), u0 * K, values)


def compiled(layer: Layer) -> None:
    """As `raytt.probe.layers.outer` does with few positions."""
    add_outer(layer.buffer, layer.signs, np.array(layer.shifts), 0, layer.grads, layer.inputs)


def _add(layer: Layer, samples: slice, start: int, values: Tensor) -> None:
    done, count = 0, values.shape[-1]
    while done < count:
        block, offset = divmod(start + done, PROJ_DIM)
        size = min(PROJ_DIM - offset, count - done)
        first = layer.shifts[block] + offset
        signs = layer.signs[start + done : start + done + size]
        layer.buffer[samples, :, first : first + size].addcmul_(values[..., done : done + size], signs)
        done += size


def fused(layer: Layer) -> None:
    """No tiles."""
    n, C, U, P = layer.grads.shape
    K = layer.inputs.shape[-1]
    grads, inputs = layer.grads * layer.signs[:U].view(-1, 1), layer.inputs * layer.signs[:K]
    height = max(1, PROJ_DIM // K)
    for block, u0 in enumerate(range(0, U, height)):
        left = grads[:, :, u0 : u0 + height]
        rows = left.shape[2]
        into = layer.buffer[..., layer.shifts[block] : layer.shifts[block] + rows * K].view(n, C, rows, K)
        if P == 1:
            into.addcmul_(left, inputs.view(n, 1, 1, K))
            continue
        for i in range(n):
            torch.baddbmm(into[i], left[i], inputs[i].expand(C, P, K), out=into[i])


LAYERS = ((16, 10, 320, 1152, 1), (16, 10, 320, 1152, 4), (16, 6, 384, 1536, 24))
"""n, C, U, K, P: EfficientNet-Lite0's last stage at 32 and 48 pixels, MiniLM's widest layer."""
VARIANTS: Mapping[str, Callable[[Layer], None]] = {
    "tiles 1 MiB × 256 rows, fresh memory": partial(tiles, tile_bytes=1 << 20, tile_rows=256, reuse=False),
    "tiles 1 MiB × 256 rows, reused": partial(tiles, tile_bytes=1 << 20, tile_rows=256, reuse=True),
    "tiles 2 MiB × 32 rows, fresh memory": partial(tiles, tile_bytes=1 << 21, tile_rows=32, reuse=False),
    "tiles 2 MiB × 32 rows, reused": partial(tiles, tile_bytes=1 << 21, tile_rows=32, reuse=True),
    "tiles 2 MiB × 32 rows, compiled": partial(compiled_tiles, tile_bytes=1 << 21, tile_rows=32),
    "tiles 4 MiB × 8 rows, compiled (kept above P = 8)": partial(compiled_tiles, tile_bytes=1 << 22, tile_rows=8),
    "compiled, no tile (kept up to P = 8)": compiled,
    "fused": fused,
}


DEPTHWISE = ((32, 112, 3, 1), (144, 56, 3, 1), (240, 28, 5, 1), (672, 14, 5, 1), (1152, 7, 5, 1))
"""Channels, results' height and width, kernel, stride: EfficientNet-Lite0 at 224 pixels."""


def depthwise_variants(channels: int, size: int, kernel: int, stride: int) -> dict[str, Callable[[], Any]]:
    """Ways to compute weight gradients of a convolution that treats each channel alone."""
    draw = torch.Generator().manual_seed(0)
    height = (size - 1) * stride + kernel
    inputs = torch.randn(2, height, height, channels, generator=draw)
    grads = torch.randn(2, 4, size, size, channels, generator=draw)

    def unfolded() -> Tensor:
        patches = inputs.permute(0, 3, 1, 2).unfold(2, kernel, stride).unfold(3, kernel, stride)
        right = patches.permute(0, 1, 4, 5, 2, 3).reshape(2 * channels, kernel**2, size**2).transpose(1, 2)
        left = grads.permute(0, 4, 1, 2, 3).reshape(2 * channels, 4, size**2)
        return torch.bmm(left, right).view(2, channels, 4, -1).transpose(1, 2).reshape(2, 4, -1)

    geometry = Geometry((kernel, kernel), (stride, stride), (1, 1), (0, 0))
    return {
        "unfolded": unfolded,
        "compiled (kept)": lambda: depthwise(grads.unsqueeze(2), inputs.unsqueeze(1), geometry),
    }


def medians(runs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Processor milliseconds of each, interleaved, after one turn that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, run in runs.items():
            begin = time.process_time()
            run()
            seconds[name].append(time.process_time() - begin)
    return {name: 1e3 * float(np.median(times[1:])) for name, times in seconds.items()}


def whole_probe(case: Case) -> dict[str, Callable[[], Any]]:
    """Ways to run the whole probe, or its backward passes."""

    def replicated() -> None:
        assert isinstance(case.inputs, Tensor)
        copies = case.inputs.repeat(case.plan.num_outputs, 1, 1, 1)
        capture = Capture(case.network.trainable, num_samples=len(copies))
        with torch.enable_grad(), capture:
            outputs = case.network.forward(case.network.module, copies)
        chosen = outputs.view(case.plan.num_outputs, -1, case.plan.num_outputs).diagonal(dim1=0, dim2=2).sum()
        torch.autograd.grad(chosen, [use.edge for use in capture.uses], allow_unused=True)

    runs: dict[str, Callable[[], Any]] = {"backward passes, one per output": lambda: backward_passes(case)}
    if isinstance(case.inputs, Tensor):
        runs["one backward pass of C copies of the batch"] = replicated
    for mib, rows in ((1, 32), (2, 32), (2, 8), (4, 32), (4, 8)):
        budget = Budget(max_bytes=512 * 2**20, tile_bytes=mib << 20, tile_rows=rows)
        run = partial(jacobian_rows, case.network, case.inputs, case.plan, case.sketch, budget)
        runs[f"probe, tiles {mib} MiB × {rows} rows"] = run
    return runs


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", dest="json_file")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, dict[str, float]] = {}
    for n, outputs, units, inputs, positions in LAYERS:
        layer = Layer.of(n, outputs, units, inputs, positions)
        found = medians({name: partial(run, layer) for name, run in VARIANTS.items()}, arguments.repeats)
        label = f"{units} × {inputs}, P = {positions}"
        figures[label] = {name: ms / (n * outputs) for name, ms in found.items()}
    header = ["variant", *figures]
    rows = [[name, *(f"{of[name]:.3f}" for of in figures.values())] for name in VARIANTS]
    body = f"Milliseconds per row and layer (units × inputs, P positions)\n\n{table(header, rows)}\n\n"
    rows = []
    for channels, size, kernel, stride in DEPTHWISE:
        found = medians(depthwise_variants(channels, size, kernel, stride), arguments.repeats)
        label = f"{channels} channels, {size} × {size}, kernel {kernel}, stride {stride}"
        figures[label] = found
        rows.append([label, *(f"{ms:.2f}" for ms in found.values())])
    header = ["results", *found]
    body += f"Depthwise convolutions, 2 samples × 4 outputs, milliseconds\n\n{table(header, rows)}\n\n"
    for task in (efficientnet(32), docstrings.task):
        case = case_of(task, 16, 1)
        found = medians(whole_probe(case), arguments.repeats)
        count = case.plan.num_samples * case.plan.num_outputs
        figures[task.name] = {name: ms / count for name, ms in found.items()}
        rows = [[name, f"{ms:.2f}"] for name, ms in figures[task.name].items()]
        body += f"{task.name}\n\n{table(['variant', 'ms per row'], rows)}\n\n"
    command = "python -m benchmarks.probe_variants"
    write("probe-variants", command, body, figures=figures, json_file=arguments.json_file)


if __name__ == "__main__":
    main()
