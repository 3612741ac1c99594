from __future__ import annotations

from typing import Any

import pytest

from raytt.errors import InputError
from raytt.pricing.terms import OwnTime, Terms, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90.0),
        ("90", 90.0),
        ("12h", 43_200.0),
        ("90min", 5400.0),
        ("90 m", 5400.0),
        ("1h30m", 5400.0),
        ("2d 6h", 194_400.0),
        ("0.5H", 1800.0),
        ("1.5e", None),
        ("1h30", None),
        ("-1h", None),
        ("soon", None),
        ("", None),
        ("h", None),
    ],
)
def test_durations(text: str | float, seconds: float | None) -> None:
    if seconds is None:
        with pytest.raises(InputError, match="Cannot read the duration"):
            parse_duration(text)
    else:
        assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "machine", "batch", "low", "high"),
    [
        ("0.12", None, None, 0.12, 0.12),
        ("1e-3", None, None, 1e-3, 1e-3),
        ("32=0.1..0.14", None, 32, 0.1, 0.14),
        ("aws:g6.xlarge/32=0.12", "aws:g6.xlarge", 32, 0.12, 0.12),
        ("aws:g5.xlarge:spot/0.1..0.2", "aws:g5.xlarge:spot", None, 0.1, 0.2),
    ],
)
def test_own_times(text: str, machine: str | None, batch: int | None, low: float, high: float) -> None:
    assert OwnTime.parse(text) == OwnTime(machine=machine, batch_size=batch, low=low, high=high)


@pytest.mark.parametrize("text", ["", "fast", "32=", "0", "-1", "0.2..0.1", "1..inf", "nan", "1.2.3"])
def test_own_times_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InputError, match="Cannot read seconds per step"):
        OwnTime.parse(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus": [0]}, "gpus is"),
        ({"gpus": [1, 8]}, "8 GPUs were asked for, but not how well training scales"),
        ({"gpus": [8], "efficiency": 1.5}, r"efficiency is 1\.5\.\.1\.5"),
        ({"efficiency": "0.9..0.8"}, r"efficiency is 0\.9\.\.0\.8"),
        ({"efficiency": "good"}, "Cannot read the efficiency 'good'"),
        ({"budget_usd": 0.0}, "budget_usd is 0.0"),
        ({"budget_usd": float("nan")}, "usd"),
        ({"deadline": "0h"}, "deadline is 0.0"),
        ({"confidence": 1.0}, "confidence is 1.0"),
        ({"prices": "aws:g6.xlarge", "seconds_per_step": "gcp:g2-standard-4/0.1"}, "none of the machines asked for"),
    ],
)
def test_terms_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Terms.of(**options)


def test_terms_as_written() -> None:
    terms = Terms.of(
        prices=["aws:g6.xlarge", "aws:g5.xlarge:spot", "aws:g6.xlarge"],
        gpus=[1, 4],
        efficiency="0.8..0.9",
        seconds_per_step=[0.5, "32=0.1"],
        budget_usd=40,
        deadline="12h",
        confidence=0.9,
    )
    assert [offer.name for offer in terms.offers] == ["aws:g6.xlarge", "aws:g5.xlarge:spot"]
    assert (terms.gpus, terms.efficiency, terms.deadline, terms.budget_usd) == ((1, 4), (0.8, 0.9), 43_200.0, 40)
    assert [time.batch_size for time in terms.own_times] == [None, 32]
    assert terms.asks
    assert not Terms().asks
