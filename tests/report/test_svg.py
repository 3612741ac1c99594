from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from raytt.report.svg import HEIGHT, WIDTH, Axis, Figure, power


def linear(low: float, high: float) -> Axis:
    return Axis(label="x", low=low, high=high)


def figure(x: Axis | None = None, y: Axis | None = None) -> Figure:
    return Figure("k", title="T", description="D", x=x or linear(0, 10), y=y or linear(0, 1))


def test_shares_of_an_axis() -> None:
    assert [linear(2, 4).share(v) for v in (2, 3, 4)] == [0.0, 0.5, 1.0]
    log = Axis(label="", low=0.01, high=100, log=True)
    assert [log.share(v) for v in (0.01, 1, 100)] == pytest.approx([0.0, 0.5, 1.0])
    # What cannot be drawn stays near, on the side where it lies.
    assert log.share(0.0) == log.share(-1.0) == -1.0
    assert log.share(math.inf) == linear(0, 1).share(math.inf) == 2.0
    assert linear(0, 1).share(1e9) == 2.0


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 10, (0, 2, 4, 6, 8, 10)),
        (0, 1, (0, 0.2, 0.4, 0.6, 0.8, 1)),
        (-0.3, 0.31, (-0.2, 0, 0.2)),
        (17, 83, (20, 40, 60, 80)),
    ],
)
def test_linear_ticks_are_round(low: float, high: float, ticks: tuple[float, ...]) -> None:
    assert linear(low, high).ticks() == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.7, 2.4, (0.7, 0.8, 0.9, 1, 2)),
        (1.05, 2.4, (1.5, 2)),
        (1, 100, (1, 2, 5, 10, 20, 50, 100)),
        (1e-3, 1, (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1)),
        (1e-5, 1e2, (1e-5, 1e-3, 1e-1, 1e1)),
    ],
)
def test_logarithmic_ticks_are_few_and_round(low: float, high: float, ticks: tuple[float, ...]) -> None:
    assert Axis(label="", low=low, high=high, log=True).ticks() == pytest.approx(ticks)


def test_an_axis_holds_its_values_with_room() -> None:
    axis = Axis.over("", [3.0, 5.0, math.inf])
    assert axis.low < 3.0 < 5.0 < axis.high < 6.0
    axis = Axis.over("", [0.0, -1.0, 1e-3, 10.0], log=True)
    assert 0.0 < axis.low < 1e-3 < 10.0 < axis.high
    assert Axis.over("", [5.0], start=0.0).low == 0.0
    for empty in (Axis.over("", []), Axis.over("", [], log=True), Axis.over("", [7.0])):
        assert empty.low < empty.high


def test_places() -> None:
    empty = figure()
    left, bottom = empty.place(0, 0)
    right, top = empty.place(10, 1)
    assert 0 < left < right < WIDTH
    assert 0 < top < bottom < HEIGHT
    assert empty.place(5, 0.5) == ((left + right) / 2, (top + bottom) / 2)


def test_shapes_are_well_formed_and_escaped() -> None:
    hostile = "'\"><script>&"
    made = Figure(
        "k",
        title=hostile,
        description=hostile,
        x=Axis(label=hostile, low=0, high=10, write=lambda _: hostile),
        y=linear(0, 1),
    )
    made.line([(0, 0), (5, 1)], hostile)
    made.band([(0, 0), (5, 0)], [(0, 1), (5, 1)], "c0")
    for shape in range(5):
        made.point(1, 0.5, "c1", tip=hostile, shape=shape)
    made.cell((0, 1), (0, 1), "h0", text=hostile, tip=hostile)
    made.text(1, 1, hostile)
    made.rule(x=3, text=hostile)
    made.rule(y=0.3, text=hostile)
    made.labels([(1, 1, hostile, "c0")])
    root = ET.fromstring(str(made.svg()))
    assert "script" not in {element.tag for element in root.iter()}
    assert sum("script" in (element.text or "") for element in root.iter()) >= 10
    assert root.get("role") == "img"


def test_a_line_goes_through_its_values() -> None:
    made = figure()
    made.line([(0, 0), (10, 1)], "c0")
    (points,) = re.findall(r"points='([^']*)'", str(made.svg()))
    expected = [made.place(0, 0), made.place(10, 1)]
    assert [tuple(map(float, pair.split(","))) for pair in points.split()] == [
        pytest.approx(p, abs=0.05) for p in expected
    ]


def test_rules_outside_are_left_out() -> None:
    made = figure()
    made.rule(x=11, text="far")
    made.rule(y=-1, text="below")
    assert "far" not in str(made.svg())
    assert "below" not in str(made.svg())


def test_labels_do_not_cover_each_other() -> None:
    made = figure()
    made.labels([(9, 0.5, f"#{i}", "c0") for i in range(4)] + [(2, 0.5, "#9", "c0")])
    heights = [float(y) for y in re.findall(r"class='word c0 end' x='[^']*' y='([^']*)'>#[0-3]<", str(made.svg()))]
    assert len(heights) == 4
    assert all(b - a >= 12.9 for a, b in zip(sorted(heights), sorted(heights)[1:], strict=False))
    (alone,) = re.findall(r"y='([^']*)'>#9<", str(made.svg()))
    assert float(alone) == min(heights)


def test_powers_of_ten() -> None:
    assert [power(v) for v in (1e-3, 1e5, 0.01, 100.0, 2e-4)] == ["10⁻³", "10⁵", "0.01", "100", "0.0002"]
