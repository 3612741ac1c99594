"""Candidate-steps per second of the simulation, beside what one would use instead: ``python -m benchmarks.simulate``.

Random tangents of N samples and 10 outputs, softmax loss, momentum SGD. A candidate-step is one optimizer step of one
candidate on one sample path. One thread, processor time (other jobs on the machine disturb it less than wall time),
medians of interleaved repeats. Few steps are timed, with a record (an evaluation of all N samples) at either end: where
N is large, records weigh more than steps here, as they do in a ranking.

* matrix products: the products that the steps and both records cannot do without, on random matrices of the same
  shapes, nothing else.
* loop: each candidate simulated alone, by the same code.
* torchsde 0.2.6 (if installed): the SDE of `raytt.dynamics.sde` in the same coordinates, Euler with one step of the
  solver per optimizer step, all candidates in one batch, the noise as a product that never forms Σ^½ (``g_prod``).
"""

from __future__ import annotations

import argparse
import importlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.report import table, write
from raytt.dynamics.network import GramNetwork, LinearNetwork, Network, linear_network
from raytt.dynamics.path import PathNetwork
from raytt.dynamics.simulate import simulate
from raytt.dynamics.tangent import Samples, Tangent
from raytt.settings.estimator import Method
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy

NUM_OUTPUTS = 10
BATCH_SIZE = 32
NUM_RECORDS = 2
"""At the start and at the end."""
LOSS = CrossEntropy()


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A size to measure."""

    samples: int
    """N."""
    width: int
    """R."""
    candidates: int
    """M."""
    paths: int
    """P."""
    steps: int
    """T, optimizer steps timed."""
    tangents: int = 1
    """S + 1; more than one is the path method."""

    @property
    def label(self) -> str:
        """For the report."""
        size = f"NC = {self.samples * NUM_OUTPUTS}, R = {self.width}"
        return f"{size}, {self.candidates} candidates, {self.tangents} tangents"


SETUPS = (
    Setup(samples=100, width=1000, candidates=64, paths=2, steps=30),
    Setup(samples=100, width=1000, candidates=1000, paths=2, steps=6),
    Setup(samples=2000, width=4096, candidates=64, paths=2, steps=6),
    Setup(samples=100, width=4096, candidates=64, paths=2, steps=10, tangents=3),
    Setup(samples=500, width=4096, candidates=64, paths=2, steps=10, tangents=3),
)


def tangents_of(setup: Setup) -> list[Tangent]:
    """Random rows of length about 1, and positions so far apart that a walk stays on the first segment."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    shape = (setup.samples, NUM_OUTPUTS, setup.width)
    rows, targets = normal(*shape) / setup.width**0.5, torch.arange(setup.samples) % NUM_OUTPUTS
    outputs, found = normal(setup.samples, NUM_OUTPUTS), []
    for s in range(setup.tangents):
        position = s * 5.0 * rows.sum(dim=(0, 1)) / rows.sum(dim=(0, 1)).norm()
        here = rows + 0.1 * s * normal(*shape) / setup.width**0.5
        moved = outputs + here @ position
        train = Samples(outputs=moved, jacobian=here, radial=normal(*outputs.shape), targets=targets)
        found.append(Tangent(train=train, position=position))
    return found


def candidates_of(setup: Setup) -> list[Candidate]:
    """Learning rates that never diverge and never finish."""
    rates = np.geomspace(1e-4, 1e-2, setup.candidates)
    return [Candidate(lr=float(lr), momentum=0.9, batch_size=BATCH_SIZE) for lr in rates]


def solve(setup: Setup, tangent: Tangent, network: Network, candidates: list[Candidate], method: Method) -> None:
    """Simulate to the end of the budget."""
    simulate(
        tangent,
        LOSS,
        candidates,
        [setup.steps] * len(candidates),
        num_paths=setup.paths,
        seed=0,
        target=None,
        method=method,
        record_at=[],
        network=network,
    )


def products(setup: Setup, network: Network) -> Callable[[], None]:
    """The matrix products of all steps, outputs (in coordinates) and gradients, and of both records, of two tangents on
    a path.
    """
    batch = BATCH_SIZE * NUM_OUTPUTS
    rows, state = torch.randn(batch, network.width), torch.zeros(setup.candidates, network.width)
    residual = torch.randn(setup.candidates, batch)
    reads = not isinstance(network, GramNetwork)
    everything = torch.randn(setup.samples * NUM_OUTPUTS if reads else 0, network.width)
    times = setup.paths * min(2, setup.tangents)

    def run() -> None:
        for _ in range(setup.steps * times):
            if reads:
                torch.mm(state, rows.T)
            state.addmm_(residual, rows, alpha=1e-6)
        for _ in range(NUM_RECORDS * times if reads else 0):
            torch.mm(state, everything.T)

    return run


class _Equation(nn.Module):
    """dw = −η_eff ḡ dt + (η_eff/√B) Σ^½ dW_t for one candidate per row, time in steps."""

    noise_type, sde_type = "general", "ito"

    def __init__(self, tangent: Tangent, candidates: list[Candidate]) -> None:
        super().__init__()
        self.rows = tangent.train.jacobian.flatten(0, 1)
        self.tangent = tangent
        rates = [c.effective_lr for c in candidates]
        self.rate = torch.tensor(rates).unsqueeze(1)

    def _residual(self, y: Tensor) -> Tensor:
        train = self.tangent.train
        return LOSS.residual(train.outputs + (y @ self.rows.T).view(len(y), *train.outputs.shape), train.targets)

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        """Drift."""
        g = self._residual(y)
        return -self.rate / g.shape[1] * (g.flatten(1) @ self.rows)

    def g_prod(self, t: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """Noise times increments v, one per sample."""
        g = self._residual(y)
        weighted = g * (v - v.mean(dim=1, keepdim=True)).unsqueeze(2)
        scale = self.rate / math.sqrt(BATCH_SIZE * g.shape[1])
        return scale * (weighted.flatten(1) @ self.rows)

    def f_and_g_prod(self, t: Tensor, y: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Both."""
        return self.f(t, y), self.g_prod(t, y, v)


def torchsde_run(setup: Setup, tangent: Tangent, candidates: list[Candidate]) -> Callable[[], None]:
    """Torchsde on the same equation, path after path."""
    torchsde: Any = importlib.import_module("torchsde")
    equation = _Equation(tangent, candidates)
    start = torch.zeros(len(candidates), setup.width)

    def run() -> None:
        for path in range(setup.paths):
            noise = torchsde.BrownianInterval(
                0.0, float(setup.steps), size=(len(candidates), setup.samples), entropy=path
            )
            times = torch.tensor([0.0, float(setup.steps)])
            torchsde.sdeint(equation, start, times, bm=noise, dt=1.0, method="euler")

    return run


def measure(setup: Setup, repeats: int) -> dict[str, Any]:
    """Candidate-steps per second by route."""
    tangents, candidates = tangents_of(setup), candidates_of(setup)
    network: Network = linear_network(tangents[0]) if setup.tangents == 1 else PathNetwork(tangents)
    alone = candidates[:: max(1, len(candidates) // 4)][:4]
    few = candidates[:64]

    def one_by_one() -> None:
        for candidate in alone:
            solve(setup, tangents[0], network, [candidate], "sgd")

    routes: dict[str, tuple[int, Callable[[], None]]] = {
        "matrix products": (len(candidates), products(setup, network)),
        "raytt, optimizer's steps": (
            len(candidates),
            lambda: solve(setup, tangents[0], network, candidates, "sgd"),
        ),
        "loop over candidates": (
            len(alone),
            one_by_one,
        ),
    }
    if isinstance(network, LinearNetwork):
        routes["raytt, SDE"] = (len(candidates), lambda: solve(setup, tangents[0], network, candidates, "sde"))
        try:
            routes["torchsde"] = (len(few), torchsde_run(setup, tangents[0], few))
        except ImportError:
            print("torchsde is not installed")
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    with torch.no_grad():
        for _ in range(repeats):
            for name, (_, run) in routes.items():
                begin = time.process_time()
                run()
                seconds[name].append(time.process_time() - begin)
    return {
        name: count * setup.paths * setup.steps / float(np.median(seconds[name])) for name, (count, _) in routes.items()
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", dest="json_file")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    figures, body = {}, f"B = {BATCH_SIZE}, C = {NUM_OUTPUTS}, {arguments.repeats} repeats, one thread.\n"
    for setup in SETUPS:
        figures[setup.label] = found = measure(setup, arguments.repeats)
        own = found["raytt, optimizer's steps"]
        rows = [[name, f"{rate:,.0f}", f"{rate / own:.3f}"] for name, rate in found.items()]
        header = ["route", "candidate-steps per second", "× raytt's optimizer steps"]
        body += f"\n## {setup.label}\n\n{setup.paths} paths, {setup.steps} steps\n\n{table(header, rows)}\n"
        print(body, flush=True)
    write("simulate", "python -m benchmarks.simulate", body, figures=figures, json_file=arguments.json_file)


if __name__ == "__main__":
    main()
