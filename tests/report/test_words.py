from __future__ import annotations

import pytest

from raytt.report.words import short_usd


@pytest.mark.parametrize(
    ("usd", "text"), [(2e-7, "$2e-07"), (0.00003, "0.003¢"), (0.0005, "0.05¢"), (0.02, "$0.02"), (2e4, "$20,000")]
)
def test_dollars_on_an_axis(usd: float, text: str) -> None:
    assert short_usd(usd) == text
