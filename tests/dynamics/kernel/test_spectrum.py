"""The spectrum against definitions written out."""

from __future__ import annotations

import numpy as np
import pytest

from raytt.dynamics.kernel.spectrum import Spectrum, spectrum_from_principal_coordinates
from tests.support.reduction import reduce_rows
from tests.support.spectra import spectrum_from_gram


@pytest.mark.parametrize("width", [60, 7], ids=["full rank", "low rank"])
def test_values_against_definitions(width: int) -> None:
    rng = np.random.default_rng(0)
    rows, residual = rng.standard_normal((10, 3, width)), rng.standard_normal((10, 3))
    flat, g = rows.reshape(30, width), residual.reshape(30)
    singular, left = np.linalg.svd(flat, full_matrices=False)[1], np.linalg.svd(flat, full_matrices=False)[0]
    for spectrum in (
        spectrum_from_gram(flat @ flat.T, residual),
        spectrum_from_principal_coordinates(reduce_rows(rows)[0], residual),
    ):
        np.testing.assert_allclose(spectrum.eigenvalues, singular**2 / 10, rtol=1e-9)
        np.testing.assert_allclose(spectrum.projections, (left.T @ g) ** 2, rtol=1e-6, atol=1e-12)
        assert spectrum.projections.sum() + spectrum.remainder == pytest.approx(g @ g)
        assert spectrum.mean_eigenvalue == pytest.approx(np.trace(flat @ flat.T) / 10 / 30)
        kappa = np.linalg.eigvalsh(flat @ flat.T / 10)
        assert spectrum.effective_rank == pytest.approx(kappa.sum() ** 2 / (kappa**2).sum())
        expected = (g @ flat @ flat.T @ g / 10 / (g @ g)) / kappa.mean()
        assert spectrum.alignment == pytest.approx(expected)


def test_extremes_of_rank_and_alignment() -> None:
    residual = np.zeros((4, 1))
    residual[0] = 2.0
    flat = spectrum_from_gram(np.eye(4), residual)
    assert flat.effective_rank == pytest.approx(4.0)
    assert flat.alignment == pytest.approx(1.0)
    single = spectrum_from_gram(np.diag([1.0, 0.0, 0.0, 0.0]), residual)
    assert single.effective_rank == pytest.approx(1.0)
    assert single.alignment == pytest.approx(4.0)
    assert single.remainder == pytest.approx(0.0)
    nothing = spectrum_from_gram(np.zeros((4, 4)), residual)
    assert (nothing.effective_rank, nothing.alignment, nothing.remainder) == (0.0, 0.0, 4.0)


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="eigenvalues"):
        Spectrum(eigenvalues=np.ones(3), projections=np.ones(2), remainder=0.0, num_samples=3, num_outputs=1)
