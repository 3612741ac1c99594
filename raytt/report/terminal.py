"""A ranking as a table for terminals, and the words and numbers in it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from raytt.candidates import Candidate
from raytt.forecast import Status
from raytt.ranking import Entry, Ranking

MOST_ROWS = 60
"""Rows of the table; what lies beyond is in the JSON file and the data frame."""

_STYLES = {
    Status.REACHED: "green",
    Status.UNTRUSTED: "yellow",
    Status.NOISE_FLOOR: "magenta",
    Status.NOT_REACHED: "cyan",
    Status.UNSTABLE: "red",
}
_METHODS = {
    "path": "the optimizer's own steps on the network along a short real run",
    "sgd": "the optimizer's own steps on the linearized network",
    "sde": "a stochastic differential equation on the linearized network",
}
_CAVEAT = (
    "Training-free: the network is linearized once, at its pre-trained weights. Where features move during training, "
    "it learns faster than predicted here, at times by a multiple (the README has measurements). Intervals hold the "
    "noise of minibatches and of the subsample, not this error."
)
_PATH_CAVEAT = (
    "Predicted along the reference run of the same optimizer: most trustworthy for settings like its own and down to "
    "the loss at which it stopped. Intervals hold the noise of minibatches and of the subsample, and what such "
    "predictions were off by in real training of other tasks (the README has measurements)."
)


def render(ranking: Ranking) -> RenderableType:
    """Table, the run's own cost, what it replaced, prices and decisions, statuses explained, notes."""
    # It writes numbers as this module does.
    from raytt.report.budget import render_money

    parts: list[RenderableType] = [_title(ranking), _table(ranking)]
    if len(ranking.entries) > MOST_ROWS:
        hidden = len(ranking.entries) - MOST_ROWS
        parts.append(Text(f"… and {hidden} more: --json FILE or Ranking.to_pandas() holds them all.", style="dim"))
    parts += [*_own_cost(ranking), Text(), *render_money(ranking)]
    present = {entry.forecast.status for entry in ranking.entries}
    for status in (s for s in _STYLES if s in present):
        parts.append(Text.assemble((status.value, _STYLES[status]), f": {status.explanation}"))
    caveat = _PATH_CAVEAT if ranking.method == "path" else _CAVEAT
    parts += [_bullet(note) for note in (*_doubts(ranking), *ranking.notes, caveat)]
    return Group(*parts)


def plain(ranking: Ranking, *, width: int = 120) -> str:
    """The same without colours."""
    out = io.StringIO()
    Console(file=out, width=width, color_system=None, force_terminal=False, legacy_windows=False).print(render(ranking))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _doubts(ranking: Ranking) -> list[str]:
    """What limits the trust in the rows shown, the same words for several of them once."""
    by_words: dict[str, list[int]] = {}
    for entry in ranking.entries[:MOST_ROWS]:
        for words in entry.forecast.doubts:
            by_words.setdefault(words, []).append(entry.rank)
    return [f"# {', '.join(map(str, ranks))}: {words}." for words, ranks in by_words.items()]


def human_seconds(seconds: float) -> str:
    """A duration in the unit that suits it: ``0.4 s``, ``45 s``, ``3.2 min``, ``1.4 h``, ``2.1 d``."""
    for unit, size, upto in (("s", 1.0, 119.5), ("min", 60.0, 119.5), ("h", 3600.0, 47.5)):
        if seconds / size < upto:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds / 86400.0)} d"


def human_usd(usd: float) -> str:
    """An amount of dollars to the cent, below ten cents to a tenth of a cent."""
    if 0.0 < usd < 0.001:
        return "<$0.001"
    return f"${usd:.3f}" if 0.0 < usd < 0.1 else f"${usd:,.2f}"


def human_steps(steps: float) -> str:
    """A whole number of steps; thousands are set apart from 10,000 on."""
    return f"{steps:,.0f}" if steps >= 9999.5 else f"{steps:.0f}"


def _title(ranking: Ranking) -> Text:
    same = shared_by_all([entry.candidate for entry in ranking.entries])
    shared = f"All with {same}. " if same else ""
    method = _METHODS.get(ranking.method, ranking.method)
    facts = ranking.provenance
    counted = ""
    if facts.num_samples is not None and facts.num_samples_full is not None:
        counted = f", {facts.num_samples:,} of {facts.num_samples_full:,} training samples probed"
    title = Text.assemble((ranking.task, "bold"), f": {len(ranking.entries)} candidates to {ranking.target}. ")
    return title.append(f"{shared}Method {ranking.method}: {method}{counted}.", style="dim")


def _table(ranking: Ranking) -> Table:
    entries = ranking.entries[:MOST_ROWS]
    priced = any(entry.usd is not None for entry in ranking.entries)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("#", justify="right")
    table.add_column("candidate", ratio=1, overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("steps", justify="right", no_wrap=True)
    table.add_column("90 %", no_wrap=True)
    table.add_column("epochs", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    if priced:
        table.add_column("cost", justify="right", no_wrap=True)
    settings = settings_of([entry.candidate for entry in ranking.entries])
    for entry, setting in zip(entries, settings, strict=False):
        status = Text(entry.forecast.status.value, style=_STYLES[entry.forecast.status])
        cost = (_or_dash(entry.usd, human_usd),) if priced else ()
        table.add_row(
            str(entry.rank), setting, status, *_numbers(entry), *cost, style=None if entry.forecast.reaches else "dim"
        )
    return table


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


def _numbers(entry: Entry) -> tuple[str, str, str, str]:
    forecast = entry.forecast
    if forecast.steps is None:
        beyond = "–" if forecast.status is Status.UNSTABLE else f"> {human_steps(entry.budget)}"
        return beyond, "", "–", "–"
    low, high = forecast.low, forecast.high
    if low is None:
        interval = ""
    else:
        interval = f"≥ {human_steps(low)}" if high is None else f"{human_steps(low)}–{human_steps(high)}"
    return (
        human_steps(forecast.steps),
        interval,
        _or_dash(entry.epochs, _digits),
        _or_dash(entry.seconds, human_seconds),
    )


def _or_dash(value: float | None, write: Callable[[float], str]) -> str:
    return "–" if value is None else write(value)


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


def _own_cost(ranking: Ranking) -> Iterator[Text]:
    if ranking.phases:
        spent = " + ".join(f"{name} {human_seconds(seconds)}" for name, seconds in ranking.phases.items())
        yield Text.assemble("This ranking took ", (human_seconds(ranking.total_seconds), "bold"), f": {spent}.")
    replaced = f"Training all {len(ranking.entries)} would take {human_seconds(ranking.replaced_seconds)}"
    note = " (to the target or the end of the budget; nothing counted for unstable ones)"
    saving = ranking.saving
    if saving is None:
        yield Text(f"{replaced}{note}.")
    elif saving >= 1.0:
        yield Text.assemble(f"{replaced}{note}: ", (f"{_digits(saving)} times as long", "bold"), ".")
    else:
        yield Text.assemble(f"{replaced}{note}: ", (f"less than ranking them ({saving:.2g} of it)", "bold"), ".")


def _bullet(note: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row("•", Text(note))
    return grid


def _digits(value: float) -> str:
    """Two digits, or all before the decimal point."""
    if value >= 9.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"
