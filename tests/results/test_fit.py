from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from raytt.pricing.catalog import find_offer, load_catalog
from raytt.pricing.machine import Timing
from raytt.pricing.step_memory import Fit, PassMemory, StepMemory
from raytt.pricing.step_time import StepTime
from raytt.pricing.terms import OwnTime, Terms
from raytt.report.html import report
from raytt.report.memory import fit_notes, memory_of
from raytt.report.rows import row_of
from raytt.report.terminal import plain
from raytt.results.finished_run import FinishedRun
from raytt.results.fit import human_bytes, remedy
from raytt.results.ranking import Ranking
from tests.support.fakes import example_ranking

GIB = 2**30
L4 = find_offer(load_catalog(), "aws:g6.xlarge")
H100 = find_offer(load_catalog(), "aws:p5.4xlarge")
# 0.75 GiB a sample: batches of 8 need 6 GiB, of 32 24, of 64 48.
MEMORY = StepMemory(
    weights=0,
    gradients=4,
    largest_gradient=4,
    averaged=False,
    passes={
        "cuda": tuple(PassMemory(batch_size=b, first=b * 3 * GIB // 4, later=b * 3 * GIB // 4 + 4) for b in (2, 64))
    },
    source="computed on tensors without contents",
)
TERMS = Terms(offers=(L4, H100), own_times=(OwnTime(machine=None, batch_size=None, low=0.1, high=0.2),))


def _ranking() -> Ranking:
    timed = {b: StepTime(batch_size=b, seconds=0.1, low=0.1, high=0.1, source="") for b in (8, 32, 64)}
    return example_ranking(timing=Timing(timed=timed, memory=MEMORY), terms=TERMS)


def _marked() -> Ranking:
    ranking = _ranking()
    large = Fit(peak=24 * GIB, usable=21.6 * GIB, batch_size=16, accumulation_steps=2)
    entries = tuple(
        replace(e, fit=large if e.candidate.batch_size == 32 else Fit(peak=6 * GIB, usable=21.6 * GIB))
        for e in ranking.entries
    )
    return replace(ranking, entries=entries)


def test_machines_are_not_offered_to_what_does_not_fit_them() -> None:
    decision = _ranking().decide()
    offered = {(plan.entry.candidate.batch_size, plan.machine.name) for plan in decision.plans}
    assert offered == {(8, L4.name), (8, H100.name), (32, H100.name)}
    [note] = [note for note in decision.notes if "do not fit" in note]
    assert note.startswith("5 of 7 configurations do not fit aws:g6.xlarge, which has 21.6 GiB for a step")
    assert "needs 24 GiB, batch 16 with accumulation of 2 fits" in note


def test_nothing_is_left_out_where_memory_is_not_known() -> None:
    ranking = _ranking()
    unknown = replace(ranking, timing=replace(ranking.timing, memory=None))
    assert {(p.entry.candidate.batch_size, p.machine.name) for p in unknown.decide().plans} >= {(32, L4.name)}


def test_a_ranking_keeps_what_it_knows_of_memory() -> None:
    ranking = _marked()
    again = Ranking.from_json(ranking.to_json())
    assert again.timing.memory == MEMORY
    assert [entry.fit for entry in again.entries] == [entry.fit for entry in ranking.entries]
    rows = ranking.to_pandas()
    row = rows[rows["batch_size"] == 32].iloc[0]
    assert (row["peak_memory_bytes"], row["fits"]) == (24 * GIB, False)
    assert (row["fitting_batch_size"], row["fitting_accumulation_steps"]) == (16, 2)
    assert example_ranking().to_json()["candidates"][0]["peak_memory_bytes"] is None


def test_tables_mark_what_does_not_fit() -> None:
    ranking = _marked()
    [first] = [e for e in ranking.entries if e.rank == 1]
    assert memory_of(first) == "24 GiB does not fit"
    assert row_of(first, "").fits is False
    text = " ".join(plain(ranking, width=200).split())
    assert "24 GiB does not fit" in text
    assert "6 GiB" in text
    assert "(24 GiB of 21.6 GiB): batch 16 with accumulation of 2 fits." in text
    assert len(fit_notes(ranking.entries, "x")) == sum(e.candidate.batch_size == 32 for e in ranking.entries)
    assert "memory" not in plain(example_ranking())


def test_a_remedy_that_does_not_exist() -> None:
    assert remedy(Fit(peak=2, usable=1.0)) == "no smaller minibatch fits"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (1536, "1.5 KiB"),
        (3 * 2**19, "1.5 MiB"),
        (2**20 * 999, "999 MiB"),
        (2**30 * 1.5, "1.5 GiB"),
        (2**40, "1,024 GiB"),
    ],
)
def test_sizes_in_words(size: float, text: str) -> None:
    assert human_bytes(size) == text


def test_the_page_marks_what_does_not_fit() -> None:
    run = FinishedRun(name="one", place="runs/one", ranking=_marked())
    page = report(run, now=datetime(2026, 11, 29, tzinfo=UTC))
    assert ">24 GiB does not fit</td>" in page
    assert 'class="num">Memory</th>' in page
    assert "batch 16 with accumulation of 2 fits" in page
    plain_run = FinishedRun(name="one", place="runs/one", ranking=example_ranking())
    assert ">Memory</th>" not in report(plain_run, now=datetime(2026, 11, 29, tzinfo=UTC))
