"""The spread of the method's own error: nothing but its terms, in quadrature."""

from __future__ import annotations

import math

import pytest

from raytt.forecast.model_error import (
    BEYOND,
    CALM,
    NEAR_EDGE,
    PART,
    SMALL_BATCH,
    VALIDATION,
    WILD,
    WITHIN,
    Regime,
    model_spread,
)
from raytt.forecast.trust import PathTrust
from raytt.task.candidate import Candidate


def test_terms_add_in_quadrature() -> None:
    assert model_spread(Regime(depth=0.0, halvings=0.0, edge=CALM)) == pytest.approx(WITHIN)
    squares = WITHIN**2 + (BEYOND * 1.2) ** 2 + (SMALL_BATCH * 2.0) ** 2 + (NEAR_EDGE * 0.7) ** 2
    assert model_spread(Regime(depth=1.2, halvings=2.0, edge=CALM + 0.7)) == pytest.approx(math.sqrt(squares))
    squares += (PART * 2.3) ** 2
    assert model_spread(Regime(depth=1.2, halvings=2.0, edge=CALM + 0.7, part=2.3)) == pytest.approx(math.sqrt(squares))
    squares += VALIDATION**2
    regime = Regime(depth=1.2, halvings=2.0, edge=CALM + 0.7, part=2.3)
    assert model_spread(regime, validation=True) == pytest.approx(math.sqrt(squares))
    assert min(PART, VALIDATION) > 0.0
    assert model_spread(Regime(depth=0.0, halvings=0.0, edge=50.0)) == model_spread(
        Regime(depth=0.0, halvings=0.0, edge=WILD)
    )


def test_the_regime_of_a_candidate() -> None:
    trust = PathTrust(sharpness=10.0, last_ratio=0.2, batch_size=32, part=1.5)
    found = trust.regime(Candidate(lr=0.1, batch_size=8), 0.05)
    assert found.depth == pytest.approx(math.log(4.0))
    assert found.halvings == pytest.approx(2.0)
    assert found.edge == pytest.approx(0.5)
    assert found.part == 1.5
    # Above the reference's end and with larger batches there is nothing to widen for.
    found = trust.regime(Candidate(lr=0.1, batch_size=64), 0.5)
    assert (found.depth, found.halvings) == (0.0, 0.0)
