"""A ranking as a table for terminals, and the words and numbers in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raytt.forecast.final_quality import QualityStatus
from raytt.forecast.forecast import Status
from raytt.report import quality as by_quality
from raytt.report.memory import DOES_NOT_FIT, fit_notes, memory_of
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
    objective = None if ranking.objective is None else ranking.quality_of_interest
    if objective is None:
        parts: list[RenderableType] = [_title(ranking), _table(ranking)]
    else:
        entries = ranking.entries[:MOST_ROWS]
        settings = settings_of([entry.candidate for entry in ranking.entries])[: len(entries)]
        parts = [_title(ranking), by_quality.quality_table(ranking, objective, entries, settings)]
    if len(ranking.entries) > MOST_ROWS:
        hidden = len(ranking.entries) - MOST_ROWS
        parts.append(Text(f"… and {hidden} more: --json FILE or Ranking.to_pandas() holds them all.", style="dim"))
    parts += [*_own_cost(ranking), Text(), *_quality(ranking), *render_money(ranking)]
    parts += _explained(ranking)
    if any(entry.fit is not None and entry.fit.fits is False for entry in ranking.entries):
        parts.append(Text.assemble(("does not fit", "red"), f": {DOES_NOT_FIT}"))
    caveat = _CAVEATS.get(ranking.method, _CAVEAT)
    large = fit_notes(ranking.entries[:MOST_ROWS], ranking.provenance.machine or "the machine")
    parts += [_bullet(note) for note in (*_doubts(ranking), *large, *ranking.notes, caveat)]
    return Group(*parts)


def plain(ranking: Ranking, *, width: int = 120) -> str:
    """The same without colours."""
    return as_text(render(ranking), width=width)


def _quality(ranking: Ranking) -> Iterator[RenderableType]:
    """The best within the budget and the front; of a ranking by cost the first by quality."""
    choice = ranking.choose_quality()
    if choice is None:
        return
    if ranking.objective is None:
        yield from by_quality.second_view(ranking)
    else:
        yield by_quality.render_choice(ranking, choice)
    yield Text()


def _explained(ranking: Ranking) -> list[Text]:
    """A sentence for each status in the table."""
    if ranking.objective is not None:
        there = {entry.quality.status for entry in ranking.entries if entry.quality is not None}
        return [
            Text.assemble((s.value, by_quality.STYLES[s]), f": {s.explanation}") for s in QualityStatus if s in there
        ]
    present = {entry.forecast.status for entry in ranking.entries}
    return [Text.assemble((s.value, _STYLES[s]), f": {s.explanation}") for s in _STYLES if s in present]


def _doubts(ranking: Ranking) -> list[str]:
    """Reasons to trust the rows shown less; the same reason for several rows is given once."""
    by_words: dict[str, list[int]] = {}
    for entry in ranking.entries[:MOST_ROWS]:
        final = ranking.objective is not None and entry.quality is not None
        for words in entry.quality.doubts if final and entry.quality is not None else entry.forecast.doubts:
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
    objective = None if ranking.objective is None else ranking.quality_of_interest
    to = f"to {ranking.target}" if objective is None else f"by {objective.words} at the end of their budgets"
    stopping = f", with early stopping {ranking.early_stopping}" if objective and ranking.early_stopping else ""
    title = Text.assemble((ranking.task, "bold"), f": {len(ranking.entries)} candidates {to}{stopping}. ")
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
    known = any(entry.fit is not None for entry in ranking.entries)
    if known:
        table.add_column("memory", justify="right", no_wrap=True)
    if priced:
        table.add_column("cost", justify="right", no_wrap=True)
    settings = settings_of([entry.candidate for entry in ranking.entries])
    for entry, setting in zip(entries, settings, strict=False):
        status = Text(entry.forecast.status.value, style=_STYLES[entry.forecast.status])
        cost = (_or_dash(entry.usd, human_usd),) if priced else ()
        memory = (memory_of(entry),) if known else ()
        table.add_row(
            str(entry.rank),
            setting,
            status,
            *_numbers(entry),
            *memory,
            *cost,
            style=None if entry.forecast.reaches else "dim",
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
    whither = "to the end of its run" if ranking.objective else "to the target or the end of the budget"
    note = f" ({whither}; nothing counted for unstable ones)"
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
