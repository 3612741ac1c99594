"""Simulating the candidates on Ray: candidates and sample paths are distributed over tasks.

A piece of work is some candidates of one batch size on one of the sample paths. How they are cut depends on the
candidates alone, never on the number of workers, so that any number gives the same bits.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from raytt.cluster.plumbing.cached_tasks import run_cached
from raytt.cluster.plumbing.process import settle
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.run_files import Files
from raytt.cluster.stages.prober import SplitName
from raytt.cluster.stages.reduce import Reduced
from raytt.cluster.stages.tangents import PathTangents, gather
from raytt.dynamics.curves import KINDS, CandidateCurves, Curves
from raytt.dynamics.draws import path_seed
from raytt.dynamics.network import Network, linear_network
from raytt.dynamics.path import PathNetwork
from raytt.dynamics.simulate import simulate
from raytt.dynamics.steppers import Preconditioner
from raytt.dynamics.tangent import Samples, Tangent
from raytt.settings.estimator import Method
from raytt.store.cache import Cache
from raytt.store.fingerprint import fingerprint
from raytt.store.run import Arrays, Run
from raytt.task.candidate import Candidate
from raytt.task.losses import Loss
from raytt.task.target import Target

MOST_CANDIDATES = 256
"""In one piece of work. Candidates that step together share the reading of each minibatch's rows, and those at one
place of a path a product with them: on the digits example with six tangents, a step of one candidate took 0.40 ms with
64 in a piece, 0.30 with 128, 0.26 with 256 (B = 32; with B = 8 0.15, 0.12, 0.11)."""
NUMERICS = 4
"""Raised with every change that moves curves, so that a run directory does not give those of an older raytt."""

_SAMPLES = tuple(f.name for f in fields(Samples))
_REDUCED = tuple(name for name in _SAMPLES if name != "updates")


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
    """P, sample paths per candidate, those before `first_path` counted in."""
    seed: int
    """Of all draws."""
    first_path: int = 0
    """Number of the first of these paths; those before it are known."""
    full_batch: bool = False
    """Whether each step takes the gradient of all samples, on one path, without noise."""
    subset: int | None = None
    """Samples that each path trains on, but at least a batch; None: all that were probed."""

    def subset_of(self, batch_size: int) -> int | None:
        """Samples that paths of a batch size train on."""
        return None if self.subset is None else max(self.subset, batch_size)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some candidates of equal optimizer and batch size, in canonical order, on one sample path."""

    candidates: tuple[Candidate, ...]
    """Sorted by `Candidate.sort_key`."""
    budgets: tuple[int, ...]
    """Steps of each."""
    seed: int
    """Of the draws of its sample path; equal for the same path of other pieces."""

    @property
    def cost(self) -> int:
        """Sample gradients, at most."""
        return self.candidates[0].samples_per_step * sum(self.budgets)


@dataclass(frozen=True, kw_only=True)
class PathFacts:
    """What a piece of work must know of a path besides the arrays of its tangents."""

    positions: tuple[NDArray[np.float64], ...]
    """w̃_s of each tangent, shape (R,)."""
    preconditioner: Preconditioner | None
    """Of an adaptive optimizer, see `raytt.dynamics.steppers`."""


_networks: dict[str, tuple[Tangent, Network]] = {}
"""The network that this process simulated last: a process serves many pieces, and a Gram matrix takes seconds."""


def _solve(
    piece: Piece, simulation: Simulation, key: str, path: PathFacts | None, with_validation: bool, *arrays: Arrays
) -> Curves:
    """Curves of a piece, candidates in its order.

    Args:
        piece: The work.
        simulation: How.
        key: Tells networks apart.
        path: None: one reduced tangent.
        with_validation: Whether each tangent's arrays are those of the training samples, then of the validation
            samples; else of the training samples alone.
        arrays: Of each tangent in turn.
    """
    settle(threads=1, gpus=0)
    if key not in _networks:
        _networks.clear()
        _networks[key] = _network(path, arrays[::2], arrays[1::2]) if with_validation else _network(path, arrays, ())
    tangent, network = _networks[key]
    return simulate(
        tangent,
        simulation.loss,
        piece.candidates,
        piece.budgets,
        num_paths=1,
        seed=piece.seed,
        target=simulation.target,
        method=simulation.method,
        full_batch=simulation.full_batch,
        network=network,
        preconditioner=None if path is None else path.preconditioner,
        subset=simulation.subset_of(piece.candidates[0].samples_per_step),
    )


def _network(path: PathFacts | None, train: Sequence[Arrays], validation: Sequence[Arrays]) -> tuple[Tangent, Network]:
    samples, others = [_samples(a) for a in train], [_samples(a) for a in validation]
    width = samples[0].jacobian.shape[2]
    positions = [torch.zeros(width)] if path is None else [torch.tensor(p).float() for p in path.positions]
    tangents = [
        Tangent(train=s, position=position, validation=others[i] if others else None)
        for i, (s, position) in enumerate(zip(samples, positions, strict=True))
    ]
    return tangents[0], linear_network(tangents[0]) if path is None else PathNetwork(tangents)


_SOLVE: Any = ray.remote(num_cpus=1, max_retries=3)(_solve)


def cut(budgets: Mapping[Candidate, int], simulation: Simulation) -> list[list[Piece]]:
    """The candidates as groups of pieces; the pieces of one group have the same candidates on different paths."""
    ordered = sorted(budgets, key=lambda c: (c.optimizer.name, c.samples_per_step, c.sort_key()))
    groups = []
    for _, same in groupby(ordered, key=lambda c: (c.optimizer.name, c.samples_per_step)):
        alike = tuple(same)
        parts = -(-len(alike) // MOST_CANDIDATES)
        bounds = [round(part * len(alike) / parts) for part in range(parts + 1)]
        for low, high in pairwise(bounds):
            groups.append(_pieces(alike[low:high], budgets, simulation))
    return groups


def _pieces(candidates: tuple[Candidate, ...], budgets: Mapping[Candidate, int], simulation: Simulation) -> list[Piece]:
    return [
        Piece(
            candidates=candidates,
            budgets=tuple(budgets[c] for c in candidates),
            seed=path_seed(simulation.seed, path, "paths of a piece"),
        )
        for path in ([0] if simulation.full_batch else range(simulation.first_path, simulation.num_paths))
    ]


class Solvers:
    """Simulates candidates on one reduced tangent, or on the path of their optimizer family.

    Args:
        reduced: The tangent at the pre-trained weights.
        paths: The tangents along a reference run by optimizer; families without one use the reduced tangent.
        num_workers: Tasks at a time, at most.
        run: Where curves are kept.
        files: Its Arrow files.
    """

    def __init__(
        self, reduced: Reduced, paths: Mapping[str, PathTangents], *, num_workers: int, run: Run, files: Files
    ) -> None:
        self._num_workers = num_workers
        self._run = run
        self._files = files
        self._reduced = reduced
        self._paths = paths
        self._sources: dict[str, _Source] = {}

    def _source(self, family: str) -> _Source:
        """What the candidates of a family are simulated on; rows are loaded when they are first wanted."""
        if family not in self._sources:
            path = self._paths.get(family)
            if path is None:
                records = [r for r in (self._reduced.train, self._reduced.validation) if r is not None]
                self._sources[family] = _Source(
                    key=self._reduced.train.made_from,
                    path=None,
                    with_validation=len(records) > 1,
                    arrays=[self._files.load(record, _REDUCED) for record in records],
                )
            else:
                gathered = gather(path, self._files)
                splits: list[SplitName] = ["train", "validation"] if "validation" in gathered[0] else ["train"]
                self._sources[family] = _Source(
                    key=path.made_from,
                    path=PathFacts(positions=path.positions, preconditioner=path.reference.preconditioner),
                    with_validation=len(splits) > 1,
                    arrays=[refs[split] for refs in gathered for split in splits],
                )
        return self._sources[family]

    def _network_key(self, family: str) -> str:
        path = self._paths.get(family)
        return self._reduced.train.made_from if path is None else path.made_from

    def solve(
        self, budgets: Mapping[Candidate, int], simulation: Simulation, phase: Phase
    ) -> dict[Candidate, CandidateCurves]:
        """Where each candidate's curves are; simulated, or from the run directory."""
        groups = cut(budgets, simulation)
        what = "full-batch simulations" if simulation.full_batch else "simulations"
        if simulation.subset is not None:
            what = f"simulations with {simulation.subset} samples"
        pieces = [piece for group in groups for piece in group]
        found = run_cached(
            pieces,
            Cache(
                key=lambda piece: self._key(piece, simulation),
                read=lambda _, key: self._stored(key),
                write=lambda _, key, curves: self._store(key, curves),
            ),
            start=lambda piece: self._start(piece, simulation),
            label=_label,
            what=f"{what} of {len(budgets)} candidates",
            phase=phase,
            in_flight=self._num_workers,
            # The longest first, so that no worker starts one when the others have nothing left.
            order=lambda piece: -piece.cost,
        )
        curves = dict(zip(pieces, found, strict=True))
        rows: dict[Candidate, CandidateCurves] = {}
        for group in groups:
            merged = _merge([curves[piece] for piece in group])
            rows |= {c: CandidateCurves(curves=merged, number=i) for i, c in enumerate(group[0].candidates)}
        return rows

    def go_on(
        self,
        rows: Mapping[Candidate, CandidateCurves],
        budgets: Mapping[Candidate, int],
        simulation: Simulation,
        phase: Phase,
    ) -> dict[Candidate, CandidateCurves]:
        """The same as `solve`, of candidates whose first path was simulated, among others: that is not done again.

        Except where the others' budgets were such that records lie at other steps.
        """
        rest = self.solve(budgets, replace(simulation, first_path=1), phase)
        joined = {c: row for c in budgets if (row := _joined(rows[c], rest[c])) is not None}
        other = {c: budget for c, budget in budgets.items() if c not in joined}
        return {**joined, **(self.solve(other, simulation, phase) if other else {})}

    def _start(self, piece: Piece, simulation: Simulation) -> Any:
        source = self._source(piece.candidates[0].optimizer.name)
        return _SOLVE.remote(piece, simulation, source.key, source.path, source.with_validation, *source.arrays)

    def _key(self, piece: Piece, simulation: Simulation) -> str:
        return fingerprint(
            {
                "numerics": NUMERICS,
                "tangent": self._network_key(piece.candidates[0].optimizer.name),
                "candidates": [c.sort_key() for c in piece.candidates],
                "budgets": piece.budgets,
                "seed": piece.seed,
                "target": str(simulation.target),
                "method": simulation.method,
                "full_batch": simulation.full_batch,
                "subset": simulation.subset,
            }
        )

    def _stored(self, key: str) -> Curves | None:
        arrays = self._run.read_arrays(_file(key), key)
        return None if arrays is None else Curves(steps=arrays.pop("steps")[0], **arrays)

    def _store(self, key: str, curves: Curves) -> Curves:
        arrays = {name: getattr(curves, name) for name in KINDS if getattr(curves, name) is not None}
        arrays |= {"steps_done": curves.steps_done, "steps": np.tile(curves.steps, (len(curves.steps_done), 1))}
        self._run.write_arrays(_file(key), arrays, made_from=key)
        return curves


@dataclass(frozen=True, kw_only=True, eq=False)
class _Source:
    """What candidates are simulated on."""

    key: str
    path: PathFacts | None
    with_validation: bool
    arrays: Sequence[Any]
    """Refs, see `_solve`."""


def _label(piece: Piece) -> str:
    return f"Simulating {len(piece.candidates)} candidates with batch size {piece.candidates[0].samples_per_step}"


def _file(key: str) -> str:
    return f"curves/{key}.arrow"


def _samples(arrays: Mapping[str, Any]) -> Samples:
    with warnings.catch_warnings():
        # What comes from the object store cannot be written to, which torch warns of; nothing here writes to it, and
        # a copy of the rows of several tangents would be large.
        warnings.simplefilter("ignore", UserWarning)
        return Samples(**{name: torch.from_numpy(arrays[name]) for name in _SAMPLES if name in arrays})


def _joined(first: CandidateCurves, rest: CandidateCurves) -> CandidateCurves | None:
    """The paths of both; None where they are not recorded at the same steps."""
    if not np.array_equal(first.curves.steps, rest.curves.steps):
        return None
    return CandidateCurves(curves=_merge([_alone(first), _alone(rest)]), number=0)


def _alone(row: CandidateCurves) -> Curves:
    own = slice(row.number, row.number + 1)
    known = {name: values[own] for name in KINDS if (values := getattr(row.curves, name)) is not None}
    return Curves(steps=row.curves.steps, steps_done=row.curves.steps_done[own], **known)


def _merge(parts: Sequence[Curves]) -> Curves:
    """The same candidates on all the paths."""
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=1)
        for name in KINDS
        if getattr(parts[0], name) is not None
    }
    done = np.max([part.steps_done for part in parts], axis=0)
    return Curves(steps=parts[0].steps, steps_done=done, **joined)
