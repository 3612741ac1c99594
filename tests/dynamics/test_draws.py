"""Seeds and bootstrap weights."""

from __future__ import annotations

import numpy as np
import pytest

from raytt.dynamics.draws import bootstrap_weights, path_seed
from raytt.task.minibatches import minibatches


def test_seeds_differ_by_seed_path_and_purpose() -> None:
    seeds = [path_seed(s, p, purpose) for s in range(20) for p in range(20) for purpose in ("minibatches", "bootstrap")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= s < 2**63 for s in seeds)
    # A fixed value: a changed derivation would silently change every result.
    assert path_seed(0, 1) == 3093090773999930226


def test_batch_sizes_walk_through_the_same_stream() -> None:
    small, large = (minibatches(10, size, 60 // size, path_seed(3, 1)).reshape(-1) for size in (2, 6))
    np.testing.assert_array_equal(small, large)


def test_bootstrap_weights_are_a_resample_per_path() -> None:
    weights = bootstrap_weights(500, seed=4, paths=40)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-12)
    counts = weights * 500
    np.testing.assert_array_equal(counts, np.round(counts))
    # Multinomial counts: variance 1 − 1/N; 20,000 of them, so that three standard errors are about 4 %.
    assert counts.var() == pytest.approx(1.0, abs=0.04)
    assert (counts == 0).mean() == pytest.approx(np.exp(-1), abs=0.02)
    np.testing.assert_array_equal(bootstrap_weights(500, seed=4, paths=3), weights[:3])
    assert (bootstrap_weights(500, seed=5, paths=1)[0] != weights[0]).any()
