"""Formatting of numbers and configurations, for every view of a ranking."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.text import Text

from raytt.task.candidate import Candidate, names_of, written


def as_text(renderable: RenderableType, *, width: int = 120) -> str:
    """What a terminal of that width shows, without colours or trailing spaces."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, force_terminal=False, legacy_windows=False).print(renderable)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def human_seconds(seconds: float) -> str:
    """A duration in the unit that suits it: ``0.4 s``, ``45 s``, ``3.2 min``, ``1.4 h``, ``2.1 d``."""
    for unit, size, upto in (("s", 1.0, 119.5), ("min", 60.0, 119.5), ("h", 3600.0, 47.5)):
        if seconds / size < upto:
            return f"{two_digits(seconds / size)} {unit}"
    return f"{two_digits(seconds / 86400.0)} d"


def human_usd(usd: float) -> str:
    """An amount of dollars to the cent, below ten cents to a tenth of a cent."""
    if 0.0 < usd < 0.001:
        return "<$0.001"
    return f"${usd:.3f}" if 0.0 < usd < 0.1 else f"${usd:,.2f}"


def short_usd(usd: float) -> str:
    """Dollars on an axis, cents below a tenth of one: there is no room for many zeros."""
    if usd < 1e-5:
        return f"${usd:.0e}"
    if usd < 1e-3:
        return f"{100.0 * usd:.2g}¢"
    return f"${usd:g}" if usd < 1e4 else f"${usd:,.0f}"


def human_steps(steps: float) -> str:
    """A whole number of steps; thousands are set apart from 10,000 on."""
    return f"{steps:,.0f}" if steps >= 9999.5 else f"{steps:.0f}"


def two_digits(value: float) -> str:
    """Two digits, or all before the decimal point."""
    if value >= 9.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"


def short(value: float) -> str:
    """A number in at most two digits."""
    return f"{float(f'{value:.2g}'):g}"


@dataclass(frozen=True)
class _Pieces:
    """Pieces of text in columns on one line; where it is too short, those that are not empty on as few as they need."""

    pieces: tuple[str, ...]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(max(map(len, self.pieces), default=0), len("  ".join(self.pieces)))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = ["  ".join(self.pieces)]
        if len(lines[0]) > options.max_width:
            lines = [""]
            for piece in (piece.rstrip() for piece in self.pieces if piece.strip()):
                longer = f"{lines[-1]}  {piece}" if lines[-1] else piece
                if len(longer) <= options.max_width:
                    lines[-1] = longer
                else:
                    lines.append(piece)
        yield Text("\n".join(lines), overflow="fold")


def settings_of(candidates: Sequence[Candidate]) -> list[_Pieces]:
    """What differs between the candidates, in aligned pieces."""
    columns = [column for column in _columns(candidates) if len(set(column)) > 1]
    widths = [max(map(len, column)) for column in columns]
    return [
        _Pieces(tuple(column[i].ljust(width) for column, width in zip(columns, widths, strict=True)))
        for i in range(len(candidates))
    ]


def shared_by_all(candidates: Sequence[Candidate]) -> str:
    """What all candidates have in common, defaults left out."""
    return ", ".join(column[0] for column in _columns(candidates) if len(set(column)) == 1 and column[0])


def _aspects(candidate: Candidate) -> dict[str, str]:
    """Every aspect of a configuration, written for the reader; those that are off are empty or not there."""
    c = candidate
    return {
        "optimizer": c.optimizer.name,
        "lr": f"lr {c.lr:.3g}",
        "batch_size": f"batch {c.batch_size}",
        "accumulation_steps": f"accumulate {c.accumulation_steps}" if c.accumulation_steps > 1 else "",
        **c.optimizer.describe(),
        "max_grad_norm": f"clip {c.max_grad_norm:.3g}" if c.max_grad_norm is not None else "",
        "schedule": c.schedule.describe(),
        "warmup_steps": f"warm-up {c.warmup_steps}" if c.warmup_steps else "",
        "warmup_ratio": f"warm-up {c.warmup_ratio:.2%}" if c.warmup_ratio is not None else "",
        "max_epochs": f"{c.max_epochs:.3g} epochs" if c.max_epochs is not None else "",
        "max_steps": f"{c.max_steps} steps" if c.max_steps is not None else "",
        **{name: f"{name} {written(value)}" for name, value in c.model_arguments},
    }


_FIRST = ("optimizer", "lr", "batch_size")


def _columns(candidates: Sequence[Candidate]) -> Iterator[list[str]]:
    aspects = [_aspects(candidate) for candidate in candidates]
    for name in dict.fromkeys((*_FIRST, *names_of(candidates))):
        column = [found.get(name, "") for found in aspects]
        if any(column):
            yield column


def differences(candidates: Sequence[Candidate]) -> list[str]:
    """What tells each candidate from the others, in words; everything about a single one."""
    columns = list(_columns(candidates))
    differing = [column for column in columns if len(set(column)) > 1] or columns
    return [", ".join(column[i] for column in differing if column[i]) for i in range(len(candidates))]
