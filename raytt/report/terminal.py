"""A ranking as a table for terminals, and the words and numbers in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raytt.forecast.forecast import Status
from raytt.report.money import render_money
from raytt.report.words import as_text, human_seconds, human_steps, human_usd, settings_of, shared_by_all, two_digits
from raytt.results.entry import Entry
from raytt.results.ranking import Ranking

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
    "rates": "descent rates of minibatches in training mode along a short real run",
    "sgd": "the optimizer's own steps on the linearized network",
    "sde": "a stochastic differential equation on the linearized network",
}
_CAVEAT = (
    "Training-free: the network is linearized once, at its pre-trained weights. Where features change during training, "
    "real training is faster than predicted here, at times several-fold (the documentation has measurements, "
    "page Accuracy). Intervals include minibatch noise and the sampling of the data, not this error."
)
_PATH_CAVEAT = (
    "Predicted along the reference run of the same optimizer: most accurate for settings like its own and down to the "
    "loss at which it stopped. Intervals include minibatch noise, the sampling of the data, and the error of such "
    "predictions in real training of other tasks (the documentation has measurements, page Accuracy)."
)
_RATES_CAVEAT = (
    "Predicted along the reference run of the same optimizer, in training mode: most accurate for settings like its "
    "own and down to the loss at which it stopped. Stalls and divergence at high learning rates are not predicted. "
    "Intervals include the noise of the rates and the error of such predictions on other tasks."
)
_CAVEATS = {"path": _PATH_CAVEAT, "rates": _RATES_CAVEAT}


def render(ranking: Ranking) -> RenderableType:
    """The table, the cost of the ranking and of what it replaced, prices, decisions, explained statuses, notes."""
    parts: list[RenderableType] = [_title(ranking), _table(ranking)]
    if len(ranking.entries) > MOST_ROWS:
        hidden = len(ranking.entries) - MOST_ROWS
        parts.append(Text(f"… and {hidden} more: --json FILE or Ranking.to_pandas() holds them all.", style="dim"))
    parts += [*_own_cost(ranking), Text(), *render_money(ranking)]
    present = {entry.forecast.status for entry in ranking.entries}
    for status in (s for s in _STYLES if s in present):
        parts.append(Text.assemble((status.value, _STYLES[status]), f": {status.explanation}"))
    caveat = _CAVEATS.get(ranking.method, _CAVEAT)
    parts += [_bullet(note) for note in (*_doubts(ranking), *ranking.notes, caveat)]
    return Group(*parts)


def plain(ranking: Ranking, *, width: int = 120) -> str:
    """The same without colours."""
    return as_text(render(ranking), width=width)


def _doubts(ranking: Ranking) -> list[str]:
    """Reasons to trust the rows shown less; the same reason for several rows is given once."""
    by_words: dict[str, list[int]] = {}
    for entry in ranking.entries[:MOST_ROWS]:
        for words in entry.forecast.doubts:
            by_words.setdefault(words, []).append(entry.rank)
    return [f"# {', '.join(map(str, ranks))}: {words}." for words, ranks in by_words.items()]


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
        _or_dash(entry.epochs, two_digits),
        _or_dash(entry.seconds, human_seconds),
    )


def _or_dash(value: float | None, write: Callable[[float], str]) -> str:
    return "–" if value is None else write(value)


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
        yield Text.assemble(f"{replaced}{note}: ", (f"{two_digits(saving)} times as long", "bold"), ".")
    else:
        yield Text.assemble(f"{replaced}{note}: ", (f"less than ranking them ({saving:.2g} of it)", "bold"), ".")


def _bullet(note: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row("•", Text(note))
    return grid
