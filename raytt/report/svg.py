"""Small figures as SVG text that takes its colours from the page: light, dark and on paper.

Shapes carry classes, never colours. Everything that comes from a user is escaped. Points carry a ``<title>``, which
browsers show when the pointer rests on them and screen readers read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 480, 320
"""Size of a figure in its own units; the page scales it."""
COLOURS = 6
"""Number of distinct colours; classes ``c0`` to ``c5`` of the page's style."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 14, 12, 46
_MOST_TICKS = 7
_LEAST_TICKS = 3

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis: its label and range."""

    label: str
    """With its unit."""
    low: float
    """Lower end."""
    high: float
    """Upper end, above ``low``."""
    log: bool = False
    """Whether it is logarithmic; both ends are then positive."""
    write: Callable[[float], str] = "{:g}".format
    """Format of a tick label."""
    at: tuple[float, ...] | None = None
    """Ticks; None chooses them."""

    @classmethod
    def over(
        cls,
        label: str,
        values: Iterable[float],
        *,
        log: bool = False,
        write: Callable[[float], str] = "{:g}".format,
        start: float | None = None,
    ) -> Axis:
        """An axis that covers all finite values (on a logarithmic one, all positive ones) with a little room.

        Args:
            label: With its unit.
            values: What it must cover.
            log: Whether it is logarithmic.
            write: Format of a tick label.
            start: Lower end, where it shall not follow the values.
        """
        held = [v for v in values if math.isfinite(v) and (v > 0.0 or not log)]
        if start is not None:
            held.append(start)
        low, high = min(held, default=1.0), max(held, default=1.0)
        if log:
            room = max((high / low) ** 0.06, 1.05)
            low, high = (low if start is not None else low / room), high * room
        else:
            room = 0.06 * (high - low) or 0.5 * abs(high) or 0.5
            low, high = (low if start is not None else low - room), high + room
        return cls(label=label, low=low, high=high, log=log, write=write)

    def share(self, value: float) -> float:
        """Position of a value: 0 at the lower end, 1 at the upper; clipped to [−1, 2]."""
        if self.log:
            if value <= 0.0:
                return -1.0
            place = math.log(value / self.low) / math.log(self.high / self.low) if math.isfinite(value) else 2.0
        else:
            place = (value - self.low) / (self.high - self.low) if math.isfinite(value) else 2.0
        return min(2.0, max(-1.0, place))

    def ticks(self) -> tuple[float, ...]:
        """Round numbers along the axis."""
        if self.at is not None:
            return self.at
        if self.log and len(found := _log_ticks(self.low, self.high)) >= _LEAST_TICKS:
            return found
        # Also of a logarithmic axis that covers too little to hold two powers of ten, or twos and threes of them.
        rough = (self.high - self.low) / (_MOST_TICKS - 1)
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * unit for factor in (1.0, 2.0, 5.0, 10.0) if factor * unit >= rough * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return tuple(0.0 if i == 0 else i * step for i in range(first, last + 1))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 5), (1, 3), (1,)):
        found = [f * 10.0**d for d in decades for f in factors if low <= f * 10.0**d <= high]
        if len(found) <= _MOST_TICKS:
            return tuple(found)
    thinned = [10.0**d for d in decades if low <= 10.0**d <= high]
    return tuple(thinned[:: -(-len(thinned) // _MOST_TICKS)])


class Figure:
    """A picture with two axes, to which shapes are added one over the other.

    Args:
        key: Tells figures of one page apart.
        title: What it shows, for those who cannot see it.
        description: What can be read from it, for them too.
        x: Horizontal axis.
        y: Vertical axis.
    """

    def __init__(self, key: str, *, title: str, description: str, x: Axis, y: Axis) -> None:
        self._key, self._title, self._description = key, title, description
        self.x, self.y = x, y
        self._shapes: list[Markup] = []

    def place(self, x: float, y: float) -> Point:
        """Where a pair of values lies in the figure's units."""
        across = _LEFT + self.x.share(x) * (WIDTH - _LEFT - _RIGHT)
        return across, HEIGHT - _BOTTOM - self.y.share(y) * (HEIGHT - _TOP - _BOTTOM)

    def line(self, points: Sequence[Point], css: str) -> None:
        """A broken line through values."""
        if points:
            self._add("<polyline class='{}' points='{}'/>", f"line {css}", self._path(points))

    def band(self, lower: Sequence[Point], upper: Sequence[Point], css: str) -> None:
        """The area between two lines of values."""
        if lower:
            self._add("<polygon class='{}' points='{}'/>", f"band {css}", self._path([*lower, *reversed(upper)]))

    def point(self, x: float, y: float, css: str, *, tip: str, shape: int = 0, size: float = 4.5) -> None:
        """A mark: circle, square, triangle, diamond, cross for ``shape`` 0 to 4, and again."""
        across, down = self.place(x, y)
        outline = (
            "M{0} {1}m-{2} 0a{2} {2} 0 1 0 {3} 0a{2} {2} 0 1 0 -{3} 0z".format(*_units(across, down, size, 2 * size)),
            "M{} {}h{}v{}h-{}z".format(*_units(across - size, down - size, 2 * size, 2 * size, 2 * size)),
            "M{} {}l{} {}h-{}z".format(*_units(across, down - 1.2 * size, 1.2 * size, 2 * size, 2.4 * size)),
            "M{0} {1}l{2} {2}l-{2} {2}l-{2} -{2}z".format(*_units(across, down - 1.3 * size, 1.3 * size)),
            "M{0} {1}l{2} {2}m0 -{2}l-{2} {2}".format(*_units(across - size, down - size, 2 * size)),
        )[shape % 5]
        hollow = " cross" if shape % 5 == 4 else ""
        self._add("<path class='{}' d='{}'><title>{}</title></path>", f"mark {css}{hollow}", outline, tip)

    def cell(self, x: tuple[float, float], y: tuple[float, float], css: str, *, text: str, tip: str) -> None:
        """A rectangle between values with a word in it."""
        left, bottom = self.place(x[0], y[0])
        right, top = self.place(x[1], y[1])
        left, top, width, height = left + 1, top + 1, right - left - 2, bottom - top - 2
        self._add(
            "<g class='cell {}'><rect x='{}' y='{}' width='{}' height='{}' rx='2'><title>{}</title></rect>"
            "<text x='{}' y='{}'>{}</text></g>",
            css,
            *_units(left, top, width, height),
            tip,
            *_units(left + width / 2, top + height / 2 + 4),
            text,
        )

    def text(self, x: float, y: float, text: str, css: str = "", *, shift: Point = (0.0, 0.0)) -> None:
        """Words beside a pair of values."""
        across, down = self.place(x, y)
        self._add(
            "<text class='{}' x='{}' y='{}'>{}</text>", f"word {css}", *_units(across + shift[0], down + shift[1]), text
        )

    def labels(self, labels: Sequence[tuple[float, float, str, str]]) -> None:
        """Words left above pairs of values, ``(x, y, text, css)``, moved down where one would cover another."""
        placed: list[Point] = []
        for x, y, text, css in sorted(labels, key=lambda label: self.place(label[0], label[1])[1]):
            across, down = self.place(x, y)
            across, down = across - 3.0, max(down - 6.0, _TOP + 11.0)
            for other_across, other_down in placed:
                if abs(across - other_across) < 26.0 and down - other_down < 13.0:
                    down = other_down + 13.0
            placed.append((across, down))
            self._add("<text class='{}' x='{}' y='{}'>{}</text>", f"word {css} end", *_units(across, down), text)

    def rule(
        self, *, x: float | None = None, y: float | None = None, text: str, css: str = "limit", left: bool = False
    ) -> None:
        """A dashed line across the figure at a value of one axis.

        Args:
            x: Where an upright one crosses the horizontal axis.
            y: Where a level one crosses the vertical axis.
            text: Its name.
            css: Its class.
            left: Whether the name stands left of an upright one, and at the left end of a level one.
        """
        if x is not None and 0.0 <= self.x.share(x) <= 1.0:
            self.line([(x, self.y.low), (x, self.y.high)], css)
            end = left or self.x.share(x) > 0.7
            self.text(x, self.y.high, text, f"{css} {'end' if end else ''}", shift=(-5.0 if end else 5.0, 12.0))
        if y is not None and 0.0 <= self.y.share(y) <= 1.0:
            self.line([(self.x.low, y), (self.x.high, y)], css)
            down = -5.0 if self.y.share(y) < 0.9 else 13.0
            if left:
                self.text(self.x.low, y, text, css, shift=(5.0, down))
            else:
                self.text(self.x.high, y, text, f"{css} end", shift=(-4.0, down))

    def svg(self) -> Markup:
        """The picture."""
        clip = f"clip-{self._key}"
        frame = Markup("<rect x='{}' y='{}' width='{}' height='{}'").format(
            _LEFT, _TOP, WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        )
        return Markup(
            "<svg viewBox='0 0 {} {}' role='img' aria-labelledby='{}-t {}-d'><title id='{}-t'>{}</title>"
            "<desc id='{}-d'>{}</desc><clipPath id='{}'>{}/></clipPath>{}{} class='frame'/>"
            "<g clip-path='url(#{})'>{}</g></svg>"
        ).format(
            WIDTH,
            HEIGHT,
            *[self._key] * 3,
            self._title,
            self._key,
            self._description,
            clip,
            frame,
            self._axes(),
            frame,
            clip,
            Markup("").join(self._shapes),
        )

    def _axes(self) -> Markup:
        parts = []
        for value in self.x.ticks():
            across, _ = self.place(value, self.y.low)
            parts.append(
                _tick(
                    across, HEIGHT - _BOTTOM, across, _TOP, across, HEIGHT - _BOTTOM + 17, "middle", self.x.write(value)
                )
            )
        for value in self.y.ticks():
            _, down = self.place(self.x.low, value)
            parts.append(_tick(_LEFT, down, WIDTH - _RIGHT, down, _LEFT - 7, down + 4, "end", self.y.write(value)))
        middle = (_TOP + HEIGHT - _BOTTOM) / 2
        parts.append(
            Markup(
                "<text class='label' x='{}' y='{}'>{}</text>"
                "<text class='label' transform='translate(13 {}) rotate(-90)'>{}</text>"
            ).format((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 8, self.x.label, middle, self.y.label)
        )
        return Markup("<g class='axes'>{}</g>").format(Markup("").join(parts))

    def _path(self, points: Sequence[Point]) -> str:
        return " ".join(",".join(_units(*self.place(x, y))) for x, y in points)

    def _add(self, shape: str, *values: object) -> None:
        self._shapes.append(Markup(shape).format(*values))


def _tick(x: float, y: float, to_x: float, to_y: float, at_x: float, at_y: float, anchor: str, text: str) -> Markup:
    grid = Markup("<line x1='{}' y1='{}' x2='{}' y2='{}'/>").format(*_units(x, y, to_x, to_y))
    return grid + Markup("<text class='{}' x='{}' y='{}'>{}</text>").format(anchor, *_units(at_x, at_y), text)


def power(value: float) -> str:
    """A power of ten as 10⁻³, any other number in two digits."""
    exponent = round(math.log10(value)) if value > 0.0 else 0
    if value > 0.0 and math.isclose(value, 10.0**exponent) and abs(exponent) > 2:
        return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{float(f'{value:.2g}'):g}"


def _units(*numbers: float) -> tuple[str, ...]:
    return tuple(f"{number:.1f}".removesuffix(".0") for number in numbers)
