"""Simulating the candidates on Ray: candidates and sample paths are dealt out to tasks.

A piece of work is some candidates of one batch size on some of the sample paths. How they are cut depends on the
candidates alone, never on the number of workers, so that any number gives the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import ray
import torch

from raytt.candidates import Candidate
from raytt.distributed.dispatch import run_tasks
from raytt.distributed.files import Files
from raytt.distributed.process import settle
from raytt.distributed.progress import Phase
from raytt.distributed.reduce import Reduced
from raytt.dynamics.curves import Curves
from raytt.dynamics.draws import path_seed
from raytt.dynamics.network import LinearNetwork, linear_network
from raytt.dynamics.simulate import Method, simulate
from raytt.dynamics.tangent import Samples, Tangent
from raytt.fingerprint import fingerprint
from raytt.losses import Loss
from raytt.store import Arrays, Run
from raytt.target import Target

MOST_CANDIDATES = 64
"""In one piece of work. Candidates that step together share the reading of each minibatch's rows: measured with 4,000
coordinates and B = 64, a step of one candidate takes 0.68 ms among 4, 0.20 ms among 32, 0.14 ms among 64 or 128."""
PATHS_PER_PIECE = 2
"""Sample paths in one piece of work: with 8 paths, even one batch size gives four workers something to do."""

_SAMPLES = tuple(f.name for f in fields(Samples))
_CURVES = ("train_loss", "train_loss_resampled", "train_accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """How candidates are simulated; the same for all."""

    loss: Loss
    """On outputs."""
    target: Target
    """Where a candidate needs no more steps."""
    method: Method
    """Solver."""
    num_paths: int
    """P, sample paths per candidate."""
    seed: int
    """Of all draws."""
    full_batch: bool = False
    """Whether each step takes the gradient of all samples, on one path, without noise."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some candidates of equal batch size, in canonical order, on some sample paths."""

    candidates: tuple[Candidate, ...]
    """Sorted by `Candidate.sort_key`."""
    budgets: tuple[int, ...]
    """Steps of each."""
    paths: int
    """Sample paths in this piece."""
    seed: int
    """Of the draws of these paths; equal for equal paths of other pieces."""

    @property
    def cost(self) -> int:
        """Sample gradients, at most."""
        return self.candidates[0].batch_size * sum(self.budgets) * self.paths


_networks: dict[str, tuple[Tangent, LinearNetwork]] = {}
"""The network that this process simulated last: a process serves many pieces, and a Gram matrix takes seconds."""


def _solve(piece: Piece, simulation: Simulation, key: str, train: Arrays, validation: Arrays | None) -> Curves:
    """Curves of a piece, candidates in its order; ``key`` tells networks apart."""
    settle(threads=1, gpus=0)
    if key not in _networks:
        _networks.clear()
        samples = _samples(train)
        tangent = Tangent(
            train=samples,
            position=torch.zeros(samples.jacobian.shape[2]),
            validation=None if validation is None else _samples(validation),
        )
        _networks[key] = tangent, linear_network(tangent)
    tangent, network = _networks[key]
    return simulate(
        tangent,
        simulation.loss,
        piece.candidates,
        piece.budgets,
        num_paths=piece.paths,
        seed=piece.seed,
        target=simulation.target,
        method=simulation.method,
        full_batch=simulation.full_batch,
        network=network,
    )


_SOLVE: Any = ray.remote(num_cpus=1, max_retries=3)(_solve)


def cut(budgets: Mapping[Candidate, int], simulation: Simulation) -> list[list[Piece]]:
    """The candidates as groups of pieces; the pieces of one group have the same candidates on different paths."""
    ordered = sorted(budgets, key=lambda c: (c.batch_size, c.sort_key()))
    groups = []
    for _, same in groupby(ordered, key=lambda c: c.batch_size):
        alike = tuple(same)
        parts = -(-len(alike) // MOST_CANDIDATES)
        bounds = [round(part * len(alike) / parts) for part in range(parts + 1)]
        for low, high in pairwise(bounds):
            groups.append(_pieces(alike[low:high], budgets, simulation))
    return groups


def _pieces(candidates: tuple[Candidate, ...], budgets: Mapping[Candidate, int], simulation: Simulation) -> list[Piece]:
    paths = 1 if simulation.full_batch else simulation.num_paths
    return [
        Piece(
            candidates=candidates,
            budgets=tuple(budgets[c] for c in candidates),
            paths=min(PATHS_PER_PIECE, paths - start),
            seed=path_seed(simulation.seed, start, "paths of a piece"),
        )
        for start in range(0, paths, PATHS_PER_PIECE)
    ]


class Solvers:
    """Simulates candidates on one reduced tangent.

    Args:
        reduced: The tangent.
        num_workers: Tasks at a time, at most.
        run: Where curves are kept.
        files: Its Arrow files.
    """

    def __init__(self, reduced: Reduced, *, num_workers: int, run: Run, files: Files) -> None:
        self._num_workers = num_workers
        self._run = run
        self._made_from = reduced.train.made_from
        records = (reduced.train, reduced.validation)
        self._tangent = [None if record is None else files.load(record, _SAMPLES) for record in records]

    def solve(self, budgets: Mapping[Candidate, int], simulation: Simulation, phase: Phase) -> dict[Candidate, Row]:
        """Where each candidate's curves are; simulated, or from the run directory."""
        groups = cut(budgets, simulation)
        keys = {piece: self._key(piece, simulation) for pieces in groups for piece in pieces}
        curves = {piece: found for piece, key in keys.items() if (found := self._stored(key)) is not None}
        # The longest first, so that no worker starts one when the others have nothing left.
        todo = sorted((p for p in keys if p not in curves), key=lambda p: (-p.cost, keys[p]))

        def keep(number: int, found: Curves) -> None:
            piece = todo[number]
            curves[piece] = found
            self._store(keys[piece], found)
            phase.advance()

        what = "full-batch simulations" if simulation.full_batch else "simulations"
        phase.expect(len(todo), f"{what} of {len(budgets)} candidates")
        run_tasks(
            [partial(self._start, piece, simulation) for piece in todo],
            [_label(piece) for piece in todo],
            on_done=keep,
            in_flight=self._num_workers,
        )
        rows: dict[Candidate, Row] = {}
        for pieces in groups:
            merged = _merge([curves[piece] for piece in pieces])
            rows |= {c: Row(curves=merged, number=i) for i, c in enumerate(pieces[0].candidates)}
        return rows

    def _start(self, piece: Piece, simulation: Simulation, _: int) -> Any:
        return _SOLVE.remote(piece, simulation, self._made_from, *self._tangent)

    def _key(self, piece: Piece, simulation: Simulation) -> str:
        return fingerprint(
            {
                "tangent": self._made_from,
                "candidates": [c.sort_key() for c in piece.candidates],
                "budgets": piece.budgets,
                "paths": piece.paths,
                "seed": piece.seed,
                "target": str(simulation.target),
                "method": simulation.method,
                "full_batch": simulation.full_batch,
            }
        )

    def _stored(self, key: str) -> Curves | None:
        record = self._run.recorded(_file(key), key)
        if record is None or not self._run.storage.is_intact(record):
            return None
        arrays = self._run.storage.read_arrays(record)
        return Curves(steps=arrays.pop("steps")[0], **arrays)

    def _store(self, key: str, curves: Curves) -> None:
        arrays = {name: getattr(curves, name) for name in _CURVES if getattr(curves, name) is not None}
        arrays |= {"steps_done": curves.steps_done, "steps": np.tile(curves.steps, (len(curves.steps_done), 1))}
        self._run.record(self._run.storage.write_arrays(_file(key), arrays, made_from=key))


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """The curves of one candidate among those simulated with it."""

    curves: Curves
    """Of several candidates."""
    number: int
    """Which row is meant."""


def _label(piece: Piece) -> str:
    return f"Simulating {len(piece.candidates)} candidates with batch size {piece.candidates[0].batch_size}"


def _file(key: str) -> str:
    return f"curves/{key}.arrow"


def _samples(arrays: Mapping[str, Any]) -> Samples:
    # Copied, because what comes from the object store cannot be written to, and torch knows no such tensors.
    return Samples(**{name: torch.tensor(arrays[name]) for name in _SAMPLES})


def _merge(parts: Sequence[Curves]) -> Curves:
    """The same candidates on all the paths."""
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=1)
        for name in _CURVES
        if getattr(parts[0], name) is not None
    }
    done = np.max([part.steps_done for part in parts], axis=0)
    return Curves(steps=parts[0].steps, steps_done=done, **joined)
