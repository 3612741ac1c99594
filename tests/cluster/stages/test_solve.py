from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.run_files import Files
from raytt.cluster.plumbing.session import Session
from raytt.cluster.stages import solve
from raytt.cluster.stages.reduce import Reduced
from raytt.cluster.stages.solve import Simulation, Solvers, cut
from raytt.dynamics.curves import CandidateCurves
from raytt.dynamics.kernel.statistics import statistics_of
from raytt.dynamics.simulate import simulate
from raytt.dynamics.tangent import Samples, Tangent
from raytt.store.run import Run
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy
from raytt.task.target import Target
from tests.support.actors import clerk
from tests.support.spectra import spectrum_from_gram

N, C, R = 12, 3, 7
SIMULATION = Simulation(
    loss=CrossEntropy(), target=Target(kind="loss_ratio", value=0.5), method="sgd", num_paths=5, seed=3
)
CANDIDATES = [
    Candidate(lr=lr, batch_size=batch, momentum=momentum)
    for lr in (0.01, 0.1)
    for batch in (3, 4)
    for momentum in (0.0, 0.5)
]
BUDGETS = {c: 20 + 10 * c.batch_size for c in CANDIDATES}


def _samples(seed: int, count: int) -> Samples:
    generator = torch.Generator().manual_seed(seed)
    return Samples(
        outputs=torch.randn(count, C, generator=generator),
        jacobian=torch.randn(count, C, R, generator=generator),
        radial=torch.randn(count, C, generator=generator),
        targets=torch.randint(0, C, (count,), generator=generator),
    )


TRAIN, VALIDATION = _samples(0, N), _samples(1, 5)


def test_pieces_hold_every_candidate_and_path_once() -> None:
    groups = cut(BUDGETS, SIMULATION)
    assert sorted(c.sort_key() for pieces in groups for c in pieces[0].candidates) == sorted(
        c.sort_key() for c in CANDIDATES
    )
    for pieces in groups:
        assert len({piece.candidates for piece in pieces}) == 1
        assert len({c.batch_size for c in pieces[0].candidates}) == 1
        assert pieces[0].budgets == tuple(BUDGETS[c] for c in pieces[0].candidates)
    # Equal paths share their draws, different ones do not.
    assert {tuple(piece.seed for piece in pieces) for pieces in groups} == {tuple(p.seed for p in groups[0])}
    assert len({piece.seed for piece in groups[0]}) == len(groups[0]) == SIMULATION.num_paths


def test_pieces_do_not_depend_on_the_order_of_candidates() -> None:
    assert cut(dict(reversed(BUDGETS.items())), SIMULATION) == cut(BUDGETS, SIMULATION)


def test_full_batch_needs_one_path() -> None:
    assert [len(pieces) for pieces in cut(BUDGETS, replace(SIMULATION, full_batch=True))] == [1, 1]


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (256, [256]), (257, [128, 129]), (700, [233, 234, 233])])
def test_many_candidates_are_cut_evenly(count: int, sizes: list[int]) -> None:
    budgets = {Candidate(lr=0.1 * (i + 1), batch_size=2): 5 for i in range(count)}
    assert [len(pieces[0].candidates) for pieces in cut(budgets, SIMULATION)] == sizes


@pytest.fixture
def store(ray_session: None, tmp_path: Path) -> tuple[Run, Reduced]:
    run = Run.open(tmp_path, "r", task_name="t")
    records = [
        run.storage.write_arrays(
            f"tangent/{name}.arrow", {k: v.numpy() for k, v in vars(samples).items() if v is not None}, made_from="x"
        )
        for name, samples in (("train", TRAIN), ("validation", VALIDATION))
    ]
    rows = TRAIN.jacobian.reshape(-1, R).double().numpy()
    reduced = Reduced(
        train=records[0],
        validation=records[1],
        spectrum=spectrum_from_gram(rows @ rows.T, np.ones((N, C))),
        statistics=statistics_of(TRAIN, CrossEntropy()),
        num_coordinates=R,
    )
    return run, reduced


def _solve(
    store: tuple[Run, Reduced], *, num_workers: int = 2, simulation: Simulation = SIMULATION, budgets: Any = BUDGETS
) -> dict[Candidate, CandidateCurves]:
    run, reduced = store
    files = Files(Session(started_here=False, is_client=False), run.storage, clerk())
    solvers = Solvers(reduced, {}, num_workers=num_workers, run=run, files=files)
    return solvers.solve(budgets, simulation, Phase("solve", "", None))


def _flat(rows: dict[Candidate, CandidateCurves]) -> dict[Candidate, list[Any]]:
    names = ("train_loss", "train_loss_resampled", "train_accuracy", "val_loss", "val_accuracy", "steps_done")
    return {
        c: [row.curves.steps.tolist(), *(getattr(row.curves, name)[row.number].tolist() for name in names)]
        for c, row in rows.items()
    }


def test_curves_are_those_of_the_solver_itself(store: tuple[Run, Reduced]) -> None:
    rows = _solve(store)
    tangent = Tangent(train=TRAIN, validation=VALIDATION, position=torch.zeros(R))
    for pieces in cut(BUDGETS, SIMULATION):
        for number, piece in enumerate(pieces):
            expected = simulate(
                tangent,
                CrossEntropy(),
                piece.candidates,
                piece.budgets,
                num_paths=1,
                seed=piece.seed,
                target=SIMULATION.target,
            )
            for i, candidate in enumerate(piece.candidates):
                row = rows[candidate]
                assert row.curves.train_loss.shape[1] == 5
                for name in ("train_loss", "train_loss_resampled", "val_accuracy"):
                    np.testing.assert_array_equal(
                        getattr(row.curves, name)[row.number, number], getattr(expected, name)[i, 0]
                    )


def test_any_number_of_workers_and_any_order_give_the_same_bits(
    store: tuple[Run, Reduced], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _flat(_solve(store))
    monkeypatch.setattr(Solvers, "_stored", lambda *_: None)
    assert _flat(_solve(store, num_workers=1)) == expected
    assert _flat(_solve(store, num_workers=3, budgets=dict(reversed(BUDGETS.items())))) == expected


def test_what_is_done_is_read_back_and_only_the_rest_is_simulated(
    store: tuple[Run, Reduced], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = {c: b for c, b in BUDGETS.items() if c.batch_size == 3}
    first = _flat(_solve(store, budgets=some))
    started = []
    start = Solvers._start
    monkeypatch.setattr(
        Solvers, "_start", lambda self, piece, *rest: (started.append(piece), start(self, piece, *rest))[1]
    )
    everything = _flat(_solve(store))
    assert {piece.candidates[0].batch_size for piece in started} == {4}
    assert {c: everything[c] for c in some} == first
    started.clear()
    assert _flat(_solve(store)) == everything
    assert not started


def test_a_damaged_file_is_simulated_again(store: tuple[Run, Reduced]) -> None:
    expected = _flat(_solve(store))
    run, _ = store
    file = next(file for file in run.files if file.startswith("curves/"))
    run.storage.write_bytes(file, b"junk")
    assert _flat(_solve(store)) == expected
    assert run.storage.is_intact(run.files[file])


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"target": Target(kind="loss_ratio", value=0.95)}, {"method": "sde"}, {"full_batch": True}]
)
def test_another_simulation_is_not_taken_from_the_store(store: tuple[Run, Reduced], change: dict[str, Any]) -> None:
    before = _flat(_solve(store))
    assert _flat(_solve(store, simulation=replace(SIMULATION, **change))) != before


def test_the_longest_pieces_start_first(store: tuple[Run, Reduced], monkeypatch: pytest.MonkeyPatch) -> None:
    costs: list[int] = []
    start = Solvers._start
    monkeypatch.setattr(
        Solvers, "_start", lambda self, piece, *rest: (costs.append(piece.cost), start(self, piece, *rest))[1]
    )
    _solve(store, num_workers=1)
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) > 1


def test_no_candidates_need_nothing(store: tuple[Run, Reduced]) -> None:
    assert _solve(store, budgets={}) == {}


def test_a_process_keeps_one_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solve, "_networks", {})
    monkeypatch.setattr(solve, "settle", lambda **_: None)
    built = []
    make = solve.linear_network
    monkeypatch.setattr(solve, "linear_network", lambda tangent: (built.append(1), make(tangent))[1])
    piece = cut(BUDGETS, SIMULATION)[0][0]
    arrays = {k: v.numpy() for k, v in vars(TRAIN).items() if v is not None}
    for key in ("a", "a", "b"):
        solve._solve(piece, SIMULATION, key, None, False, arrays)
    assert len(built) == 2
    assert list(solve._networks) == ["b"]


def test_the_first_path_is_not_simulated_twice(store: tuple[Run, Reduced], monkeypatch: pytest.MonkeyPatch) -> None:
    run, reduced = store
    chosen = {c: BUDGETS[c] for c in CANDIDATES[:3]}
    started = []
    start = Solvers._start

    def watched(self: Solvers, piece: Any, simulation: Simulation) -> Any:
        started.append(piece)
        return start(self, piece, simulation)

    monkeypatch.setattr(Solvers, "_start", watched)
    files, phase = Files(Session(started_here=False, is_client=False), run.storage, clerk()), Phase("solve", "", None)
    solvers = Solvers(reduced, {}, num_workers=2, run=run, files=files)
    first = solvers.solve(BUDGETS, replace(SIMULATION, num_paths=1), phase)
    pieces = len(started)
    found = solvers.go_on(first, chosen, SIMULATION, phase)
    assert len(started) - pieces == 4 * len({c.batch_size for c in chosen})
    expected = _solve(store, budgets=chosen)
    for candidate, row in found.items():
        for name in ("train_loss", "val_accuracy"):
            np.testing.assert_allclose(
                getattr(row.curves, name)[row.number],
                getattr(expected[candidate].curves, name)[expected[candidate].number],
                rtol=1e-4,
            )
    # Budgets of others that lie between its own records are records too: then both must be simulated together.
    longer = {**BUDGETS, Candidate(lr=0.03, batch_size=3): 47}
    first = solvers.solve(longer, replace(SIMULATION, num_paths=1), phase)
    found = solvers.go_on(first, chosen, SIMULATION, phase)
    assert all(row.curves.train_loss.shape[1] == SIMULATION.num_paths for row in found.values())
