"""The view by quality in terminals and on the page."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import raytt
from raytt.forecast.final_quality import FinalQuality, QualityStatus
from raytt.pricing.terms import Terms
from raytt.report import terminal
from raytt.report.html import report
from raytt.report.money import plain_decision
from raytt.report.rows import headline
from raytt.results.entry import by_quality
from raytt.results.finished_run import FinishedRun
from raytt.results.ranking import Ranking
from raytt.task.rank_objective import OBJECTIVES
from tests.support.qualities import quality
from tests.support.run_directory import priced_ranking

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ranking(*, objective: str | None = "val_loss") -> Ranking:
    """The example, the last of which by cost is the best by quality."""
    plain = priced_ranking(terms=Terms.of(deadline="1min"))
    count = len(plain.entries)
    qualities: list[FinalQuality] = [
        quality(0.9, 0.9 - 0.1 * i, steps=entry.budget) for i, entry in enumerate(plain.entries)
    ]
    qualities[0] = quality(status=QualityStatus.UNSTABLE)
    qualities[1] = replace(
        quality(0.1, 0.1, status=QualityStatus.UNTRUSTED), doubts=("its learning rate is <far> too high",)
    )
    entries = [replace(entry, quality=qualities[i]) for i, entry in enumerate(plain.entries)]
    if objective is not None:
        entries = [replace(e, rank=i) for i, e in enumerate(by_quality(entries, OBJECTIVES.get(objective)), 1)]
    assert count == 7
    return replace(plain, entries=tuple(entries), objective=objective, early_stopping=raytt.EarlyStopping())


def test_it_survives_json() -> None:
    for objective in ("val_loss", None):
        found = ranking(objective=objective)
        again = Ranking.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
        assert again == found
    assert found.to_json()["quality_choice"]["front"]


def test_rankings_of_before_are_read() -> None:
    document = priced_ranking().to_json()
    for name in ("objective", "early_stopping", "quality_choice"):
        del document[name]
    for candidate in document["candidates"]:
        del candidate["quality"]
    assert Ranking.from_json(document) == priced_ranking()
    assert Ranking.from_json(document).choose_quality() is None


def test_the_terminal_ranks_by_the_objective() -> None:
    text = terminal.plain(ranking())
    first, last = (next(line for line in text.splitlines() if line.startswith(rank)) for rank in (" 1 ", " 7 "))
    assert "predicted" in first
    assert "0.3" in first
    assert "unstable" in last
    assert "by validation loss at the end of their budgets, with early stopping 3@epoch" in text
    assert "Best validation loss within 60 s" in text
    assert "Front of time against validation loss" in text
    assert "# 6: its learning rate is <far> too high." in text
    assert "extrapolated:" not in text


def test_a_ranking_by_cost_shows_the_other_view_second() -> None:
    found = ranking(objective=None)
    text = terminal.plain(found)
    assert "By validation loss at the end of their own budgets (--objective val_loss ranks so)" in text
    assert [e.rank for e in found.by_objective()[:2]] == [7, 6]
    assert found.best is found.entries[0]


def test_the_page_has_both() -> None:
    page = report(FinishedRun(name="n", place="runs/n", ranking=ranking()), now=NOW)
    assert page.index('id="quality"') < page.index('id="ranking"')
    assert "Validation loss against training time" in page
    assert "its learning rate is &lt;far&gt; too high" in page
    assert "Runs are ended by early stopping (3@epoch)" in page
    assert headline(ranking()).startswith("Best: ")
    second = report(FinishedRun(name="n", place="runs/n", ranking=ranking(objective=None)), now=NOW)
    assert second.index('id="ranking"') < second.index('id="quality"')
    assert 'id="quality"' not in report(FinishedRun(name="n", place="runs/n", ranking=priced_ranking()), now=NOW)


def test_the_data_frame_has_final_columns() -> None:
    table = ranking().to_pandas()
    assert table["final_val_loss"].iloc[0] == min(table["final_val_loss"].iloc[:5])
    assert table["final_status"].iloc[-1] == "unstable"
    assert "quality" not in table


def test_a_budget_is_answered_for_quality_too() -> None:
    found = ranking()
    for seconds, says in (("10min", "Best validation loss within 10 min: 0.4"), ("1s", "No configuration")):
        assert says in plain_decision(found, found.decide(Terms.of(deadline=seconds)))
    # Its ranks are not those of a search for the target.
    assert "can be tried for real" not in plain_decision(found, found.decide(Terms.of(deadline="10min")))


def test_where_all_diverge_it_says_so() -> None:
    found = ranking()
    wild = tuple(replace(entry, quality=quality(status=QualityStatus.UNSTABLE)) for entry in found.entries)
    lost = replace(found, entries=wild)
    assert "predicted to diverge" in headline(lost)
    assert lost.best is None
    assert "No configuration" in terminal.plain(lost)
    assert "predicted to diverge" in report(FinishedRun(name="n", place="runs/n", ranking=lost), now=NOW)
