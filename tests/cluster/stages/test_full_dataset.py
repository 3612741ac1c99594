"""What is simulated besides for the whole set's sake, and for whom."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from raytt.cluster.stages.full_dataset import DEEPER, PATHS, deeper, solve_whole
from raytt.cluster.stages.solve import Simulation
from raytt.dynamics.curves import CandidateCurves, Curves
from raytt.task.candidate import Candidate
from raytt.task.losses import CrossEntropy
from raytt.task.target import KINDS, Target, TargetKind

SMALL, LARGE = Candidate(lr=0.1, batch_size=8), Candidate(lr=0.1, batch_size=64)
BUDGETS = {SMALL: 20, LARGE: 20}
COUNTS = {"num_samples": 100, "num_samples_full": 1000}


def simulation(**changes: Any) -> Simulation:
    options = {
        "loss": CrossEntropy(),
        "target": Target(kind="loss_ratio", value=0.4),
        "method": "sgd",
        "num_paths": 4,
        "seed": 0,
    }
    return Simulation(**{**options, **changes})


class Solver:
    """Curves on which fewer samples are learned sooner; keeps what was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[set[Candidate], Simulation]] = []

    def solve(self, budgets: Mapping[Candidate, int], asked: Simulation, _: object) -> dict[Candidate, CandidateCurves]:
        self.asked.append((set(budgets), asked))
        steps = np.arange(21.0)
        samples = 100 if asked.subset is None else asked.subset
        level, x = np.exp(-steps / 10.0), 100.0 / samples
        ahead, behind = level / (1 + 0.03 * steps * x), level * (1 + 0.03 * steps * x)
        shape = (1, asked.num_paths, 1)
        curves = Curves(
            steps=steps,
            train_loss=np.tile(ahead, shape),
            train_loss_resampled=np.tile(ahead, shape),
            held_loss=None if asked.subset is None else np.tile(behind, shape),
            steps_done=np.array([20]),
        )
        return {c: CandidateCurves(curves=curves, number=0) for c in budgets}


def solve(asked: Simulation, **counts: int) -> tuple[Solver, dict[Candidate, CandidateCurves]]:
    solver = Solver()
    return solver, solve_whole(solver, BUDGETS, asked, None, **{**COUNTS, **counts})  # type: ignore[arg-type]


def test_the_whole_set_takes_longer_than_the_probed_samples() -> None:
    solver, rows = solve(simulation())
    steps = np.arange(21.0)
    whole = np.exp(-steps / 10.0) / (1 + 0.03 * steps * 0.1)
    np.testing.assert_allclose(rows[SMALL].curves.train_loss[0, 0], whole, rtol=0.03)
    # Half of the samples would be less than two of its batches.
    assert rows[LARGE].curves.train_loss[0, 0, -1] < 0.7 * whole[-1]
    assert [asked for asked, _ in solver.asked] == [{SMALL, LARGE}, {SMALL}, {SMALL}]
    assert [asked.subset for _, asked in solver.asked] == [None, 25, 50]
    assert [asked.num_paths for _, asked in solver.asked] == [4, PATHS, PATHS]
    assert {asked.target for _, asked in solver.asked} == {Target(kind="loss_ratio", value=0.4 / DEEPER)}


@pytest.mark.parametrize(
    ("changes", "counts"),
    [({}, {"num_samples_full": 100}), ({"method": "sde"}, {}), ({"full_batch": True}, {})],
)
def test_nothing_more_is_simulated_where_it_cannot_help(changes: dict[str, Any], counts: dict[str, int]) -> None:
    solver, rows = solve(simulation(**changes), **counts)
    assert [asked.target for _, asked in solver.asked] == [Target(kind="loss_ratio", value=0.4)]
    assert rows[SMALL].curves.train_loss.shape[1] == 4


def test_deeper_targets() -> None:
    assert deeper(Target(kind="accuracy", value=0.9)) == Target(kind="accuracy", value=1 - 0.1 / DEEPER)
    assert deeper(Target(kind="loss", value=0.2)) == Target(kind="loss", value=0.2 / DEEPER)
    assert deeper(Target(kind="loss_ratio", value=0.2)) == Target(kind="loss_ratio", value=0.2 / DEEPER)
    for target in (Target(kind="val_loss", value=0.5), Target(kind="plateau", value=0.1)):
        assert deeper(target) == target


def test_deeper_targets_of_a_kind_whose_value_has_a_meaning_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS._entries, "perplexity", TargetKind(curve="train_loss", lowest=1.0, level=math.log))
    monkeypatch.setitem(KINDS._entries, "error", TargetKind(curve="train_accuracy", level=lambda value: 1.0 - value))
    # A perplexity of 2 has a loss of ln 2; a quarter of the value would be no perplexity at all.
    assert deeper(Target(kind="perplexity", value=2.0)) == Target(kind="loss", value=math.log(2.0) / DEEPER)
    assert deeper(Target(kind="error", value=0.5)) == Target(kind="accuracy", value=1 - 0.5 / DEEPER)
