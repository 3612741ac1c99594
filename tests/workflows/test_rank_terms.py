"""A whole ranking priced on machines that are not at hand, and what its directory then tells."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

import raytt
from raytt.pricing.hardware import accelerators
from raytt.pricing.step_time import Origin
from raytt.pricing.terms import THIS_MACHINE
from raytt.pricing.transfer import from_work
from raytt.results.finished_run import load_run
from tests.support.actors import ActorPool, shared_actors
from tests.workflows.test_rank import SPACE, TASK, _rank, steady_clock

pytestmark = pytest.mark.usefixtures("shared_actors")

__all__ = ["steady_clock"]


@pytest.fixture(scope="module")
def priced(
    base: tuple[raytt.Ranking, Path], actor_pool: ActorPool, tmp_path_factory: pytest.TempPathFactory
) -> tuple[raytt.Ranking, Path]:
    """The run that the others share, priced: of what was probed and simulated nothing is done again."""
    folder = tmp_path_factory.mktemp("priced")
    shutil.copytree(base[1] / "r", folder / "r")
    terms = raytt.Terms.of(prices=["gcp:g2-standard-4", "aws:p5.4xlarge"], budget_usd=1.0, deadline="1h")
    with shared_actors(actor_pool):
        return _rank(folder, terms=terms), folder / "r"


def test_candidates_are_ranked_on_the_first_machine(priced: tuple[raytt.Ranking, Path]) -> None:
    ranking, _ = priced
    facts = ranking.provenance
    assert (facts.machine, facts.usd_per_hour) == ("gcp:g2-standard-4", 0.708)
    for size, work in ranking.timing.work.items():
        expected = from_work(work, accelerators()["L4"])
        assert expected is not None
        assert facts.step_seconds[size] == expected.seconds
    best = ranking.best
    assert best is not None
    assert best.usd == pytest.approx(best.seconds / 3600 * 0.708)  # type: ignore[operator]


def test_work_is_counted_on_a_worker(priced: tuple[raytt.Ranking, Path]) -> None:
    ranking, _ = priced
    assert set(ranking.timing.work) == {8, 16}
    # A convolution 1 → 4 channels, 3 × 3 on 6 × 6 places: forward and weight gradient.
    assert ranking.timing.work[8].conv_flops == 2 * (2 * 8 * 4 * 9 * 36)
    assert ranking.timing.timed[8].origin is Origin.TIMED


def test_the_directory_answers_and_holds_the_curves(priced: tuple[raytt.Ranking, Path]) -> None:
    ranking, place = priced
    run = load_run(place)
    assert run.ranking == ranking
    assert run.ranking.decide() == ranking.decide()
    assert {plan.machine.name for plan in ranking.decide().plans} == {"gcp:g2-standard-4", "aws:p5.4xlarge"}
    for entry in ranking.entries:
        band = run.band(entry.candidate)
        assert band is not None
        low, median, high = band.curves["train_loss"]
        assert (low <= median).all()
        assert (median <= high).all()
        assert median[0] == pytest.approx(ranking.provenance.initial_loss, rel=1e-3)
        if entry.forecast.steps is not None:
            # The simulation ends where the target is met.
            assert median[-1] <= 0.31 * median[0]
            assert np.interp(entry.forecast.steps, band.steps, median) == pytest.approx(0.3 * median[0], rel=0.3)
    assert run.spectrum is not None


def test_a_machine_without_a_known_time_is_refused_before_the_simulations(
    base: tuple[raytt.Ranking, Path], tmp_path: Path
) -> None:
    shutil.copytree(base[1] / "r", tmp_path / "r")
    with pytest.raises(
        raytt.InputError, match=r"known for every batch size \(8, 16\).*How long a step takes on aws:g5"
    ):
        _rank(tmp_path, terms=raytt.Terms.of(prices="aws:g5.xlarge"))
    own = raytt.Terms.of(prices="aws:g5.xlarge", seconds_per_step=["8=0.1", "16=0.2"])
    assert _rank(tmp_path, terms=own).provenance.step_seconds == {8: 0.1, 16: 0.2}


class Looking(nn.Module):
    """Decides by what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = TASK.model()

    def forward(self, x: Any) -> Any:
        return self.inner(x) if float(x.sum()) > -1e9 else self.inner(-x)


def test_a_network_that_cannot_be_counted_is_still_ranked(tmp_path: Path) -> None:
    from dataclasses import replace

    ranking = _rank(tmp_path, replace(TASK, model=Looking), space=SPACE[:2])
    assert ranking.timing.work == {}
    assert len(ranking.entries) == 2
    assert ranking.provenance.machine == THIS_MACHINE
    assert not any("counted" in note for note in ranking.notes)
    with pytest.raises(raytt.InputError, match="How long a step takes on gcp:g2-standard-4 is not known"):
        _rank(tmp_path, replace(TASK, model=Looking), space=SPACE[:2], terms=raytt.Terms.of(prices="gcp:g2-standard-4"))
