from __future__ import annotations

import pytest

from raytt.errors import InputError
from raytt.settings.estimator import EstimatorSettings


def test_the_differential_equation_has_no_reference_run() -> None:
    assert EstimatorSettings(method="sde").most_reference_steps == 0
    assert EstimatorSettings().most_reference_steps is None
    assert EstimatorSettings(reference_steps=30).most_reference_steps == 30
    with pytest.raises(InputError, match="a single tangent"):
        EstimatorSettings(method="sde", reference_steps=30)
    assert EstimatorSettings(method="sde", reference_steps=0).most_reference_steps == 0
