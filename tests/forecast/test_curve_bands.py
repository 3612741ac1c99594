from __future__ import annotations

import numpy as np
import pytest

from raytt.dynamics.curves import Curves
from raytt.forecast.curve_bands import POINTS, band_of, candidate_key, from_arrays, to_arrays
from raytt.store.run import Storage
from raytt.task.candidate import Candidate
from tests.support.fakes import curves_of


def example(paths: int = 20, records: int = 200) -> Curves:
    rng = np.random.default_rng(0)
    values = rng.random((paths, records)) + 1.0
    loss = np.repeat(values[None], 2, axis=0)
    return Curves(
        steps=np.arange(records, dtype=np.float64) * 5,
        train_loss=loss,
        train_loss_resampled=loss,
        train_accuracy=loss / 2,
        steps_done=np.array([500, 995]),
    )


def test_quantiles_are_those_of_the_paths() -> None:
    curves = example()
    band = band_of(curves, 1, budget=10_000)
    at = np.searchsorted(curves.steps, band.steps)
    low, median, high = band.curves["train_loss"]
    for column, record in enumerate(at):
        ordered = sorted(curves.train_loss[1, :, record])
        # Of 20 values: the first whose rank is at most 5 % of the way, and the last.
        assert (low[column], high[column]) == (ordered[0], ordered[19])
        assert median[column] == pytest.approx((ordered[9] + ordered[10]) / 2)
    assert set(band.curves) == {"train_loss", "train_accuracy"}


def test_steps_go_from_the_start_to_the_last_simulated_one() -> None:
    curves = example()
    assert band_of(curves, 0, budget=10_000).steps[[0, -1]].tolist() == [0.0, 500.0]
    assert band_of(curves, 0, budget=100).steps[[0, -1]].tolist() == [0.0, 100.0]
    assert len(band_of(curves, 1, budget=10_000).steps) == POINTS
    short = band_of(curves_of([lambda t: 1.0 + t], steps=[0, 1, 2]), 0, budget=2)
    assert short.steps.tolist() == [0, 1, 2]
    assert short.curves["train_loss"].tolist() == [[1, 2, 3]] * 3


def test_divergence_stays_infinite() -> None:
    def late(t: np.ndarray) -> np.ndarray:
        return np.where(t > 5, np.inf, 1.0)

    one = band_of(curves_of([late, lambda t: 1.0 + 0 * t, lambda t: 2.0 + 0 * t], steps=[0, 5, 10]), 0, budget=10)
    assert one.curves["train_loss"][:, -1].tolist() == [1.0, 2.0, np.inf]
    most = band_of(curves_of([late, late, lambda t: 2.0 + 0 * t], steps=[0, 5, 10]), 0, budget=10)
    assert most.curves["train_loss"][:, -1].tolist() == [2.0, np.inf, np.inf]


def test_there_and_back_through_a_file(tmp_path: object) -> None:
    candidates = [Candidate(lr=0.1), Candidate(lr=0.2, momentum=0.9)]
    short = curves_of(
        [lambda t: np.exp(-t), lambda t: np.exp(-2 * t)], steps=[0, 1, 2], val_loss=[lambda t: t, lambda t: t]
    )
    bands = {candidates[0]: band_of(example(), 1, budget=900), candidates[1]: band_of(short, 0, budget=2)}
    storage = Storage(root=str(tmp_path))
    record = storage.write_arrays("f.arrow", to_arrays(bands), made_from="k")
    found = from_arrays(storage.read_arrays(record))
    assert set(found) == {candidate_key(c) for c in candidates}
    for candidate, band in bands.items():
        back = found[candidate_key(candidate)]
        assert np.array_equal(back.steps, band.steps)
        # Kept in single precision, and only what all have.
        assert set(back.curves) == {"train_loss"}
        assert np.allclose(back.curves["train_loss"], band.curves["train_loss"], rtol=1e-6)


def test_no_candidates_at_all(tmp_path: object) -> None:
    storage = Storage(root=str(tmp_path))
    record = storage.write_arrays("f.arrow", to_arrays({}), made_from="k")
    assert from_arrays(storage.read_arrays(record)) == {}


def test_keys_tell_candidates_apart() -> None:
    keys = {candidate_key(Candidate(lr=0.1 * i, momentum=m)) for i in range(1, 50) for m in (0.0, 0.9)}
    assert len(keys) == 98
    assert all(0 <= key < 2**60 for key in keys)
