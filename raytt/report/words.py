"""Numbers and configurations in words, for every view of a ranking."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.text import Text

from raytt.task.candidate import Candidate


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


def human_steps(steps: float) -> str:
    """A whole number of steps; thousands are set apart from 10,000 on."""
    return f"{steps:,.0f}" if steps >= 9999.5 else f"{steps:.0f}"


def two_digits(value: float) -> str:
    """Two digits, or all before the decimal point."""
    if value >= 9.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"


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


# Every aspect of a configuration, written for the reader; empty where it is off.
_ASPECTS: tuple[Callable[[Candidate], str], ...] = (
    lambda c: c.optimizer,
    lambda c: f"lr {c.lr:.3g}",
    lambda c: f"batch {c.batch_size}",
    lambda c: f"{'nesterov' if c.nesterov else 'momentum'} {c.momentum:.3g}" if c.momentum else "",
    lambda c: f"decay {c.weight_decay:.3g}" if c.weight_decay else "",
    lambda c: f"betas {c.betas[0]:g} {c.betas[1]:g}" if c.betas != (0.9, 0.999) else "",
    lambda c: f"eps {c.eps:.3g}" if c.eps != 1e-8 else "",
    lambda c: f"clip {c.max_grad_norm:.3g}" if c.max_grad_norm is not None else "",
    lambda c: f"step {c.step_size}×{c.gamma:.3g}" if c.schedule == "step" else c.schedule,
    lambda c: f"warm-up {c.warmup_steps}" if c.warmup_steps else "",
    lambda c: f"{c.max_epochs:.3g} epochs" if c.max_epochs is not None else "",
    lambda c: f"{c.max_steps} steps" if c.max_steps is not None else "",
)


def _columns(candidates: Sequence[Candidate]) -> Iterator[list[str]]:
    for write in _ASPECTS:
        yield [write(candidate) for candidate in candidates]


def differences(candidates: Sequence[Candidate]) -> list[str]:
    """What tells each candidate from the others, in words; everything about a single one."""
    columns = list(_columns(candidates))
    differing = [column for column in columns if len(set(column)) > 1] or columns
    return [", ".join(column[i] for column in differing if column[i]) for i in range(len(candidates))]
