from __future__ import annotations

import io

import pytest
from rich.console import Console

from raytt.forecast.forecast import Forecast, Status
from raytt.report import display  # noqa: F401  (results show themselves)
from raytt.report.terminal import MOST_ROWS, plain, render
from raytt.report.words import human_seconds, human_steps, human_usd
from raytt.task.candidate import Candidate
from tests.support.fakes import EXAMPLES, example_ranking


def row_of(text: str, beginning: str) -> str:
    return next(line for line in text.splitlines() if line.split()[:1] == [beginning])


def test_table_at_120_columns() -> None:
    text = plain(example_ranking(), width=120)
    assert row_of(text, "1").split() == [
        *("1", "lr", "0.01", "batch", "32", "nesterov", "0.9", "constant", "reached"),
        *("80", "≥", "60", "2.6", "24", "s", "$0.008"),
    ]
    assert row_of(text, "3").split()[-8:] == ["cosine", "untrusted", "1200", "1000–1500", "9.6", "2.0", "min", "$0.040"]
    assert "lr 0.1     batch 8                 step 100×0.1" in row_of(text, "4")
    assert row_of(text, "5").split()[-7:] == ["not", "reached", ">", "1500", "–", "–", "–"]
    assert row_of(text, "7").split()[-5:] == ["unstable", "–", "–", "–", "–"]


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_cut_off(width: int) -> None:
    text = plain(example_ranking(), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for status in Status:
        assert status.value in text
    words = " ".join(text.split())
    assert all(piece in words for piece in ("lr 0.002", "batch 64", "nesterov 0.9", "step 100×0.1", "cosine"))


def test_what_candidates_share_is_said_once() -> None:
    text = plain(example_ranking(((Candidate(lr=0.1, momentum=0.9), EXAMPLES[0][1]), EXAMPLES[1])))
    assert "All with sgd, batch 32, constant." in " ".join(text.split())
    assert "batch" not in row_of(text, "1")


def test_one_candidate_shares_everything() -> None:
    text = " ".join(plain(example_ranking(EXAMPLES[:1])).split())
    assert "All with sgd, lr 0.03, batch 32, constant." in text


def test_own_cost_by_phase_and_what_it_replaced() -> None:
    text = " ".join(plain(example_ranking()).split())
    assert "This ranking took 50 s: start 6.0 s + probe 30 s + solve 14 s." in text
    # 24.15 + 30 + 120 s to the target, and budgets of 150 + 450 + 450 s.
    assert "Training all 7 would take 20 min" in text
    assert "nothing counted for unstable ones): 24 times as long" in text


def test_ranking_that_took_longer_than_training_says_so() -> None:
    text = " ".join(plain(example_ranking(phases={"probe": 24_483.0})).split())
    assert "less than ranking them (0.05 of it)" in text
    assert "times as long" not in text


def test_only_statuses_that_occur_are_explained() -> None:
    text = " ".join(plain(example_ranking(EXAMPLES[:2])).split())
    assert Status.REACHED.explanation in text
    assert Status.UNSTABLE.explanation not in text


def test_notes_and_the_caveat_of_the_method() -> None:
    text = " ".join(plain(example_ranking()).split())
    assert "• 49 batch-norm layers run with their stored statistics (eval mode)." in text
    assert "• Training-free: the network is linearized once" in text
    assert "500 of 1,000 training samples probed" in text


def test_no_price_no_cost_column() -> None:
    assert "cost" not in plain(example_ranking(usd_per_hour=None))
    assert "cost" in plain(example_ranking())


def test_long_rankings_are_cut_with_a_word() -> None:
    many = tuple(
        (Candidate(lr=0.001 * (i + 1)), Forecast(status=Status.REACHED, steps=10.0 + i)) for i in range(MOST_ROWS + 5)
    )
    text = plain(example_ranking(many))
    assert "… and 5 more" in text
    assert row_of(text, str(MOST_ROWS))


def test_no_candidates_at_all() -> None:
    assert "0 candidates" in plain(example_ranking(()))


def test_markup_in_names_and_notes_is_plain_text() -> None:
    text = plain(example_ranking(task="a[b]c", notes=("see [red]this[/red]",)))
    assert "a[b]c" in text
    assert "[red]this[/red]" in text


def test_print_and_rich_show_the_same() -> None:
    out = io.StringIO()
    Console(file=out, width=120, color_system=None).print(example_ranking())
    assert [line.rstrip() for line in out.getvalue().splitlines()] == str(example_ranking()).splitlines()


def test_colours_on_a_terminal() -> None:
    out = io.StringIO()
    Console(file=out, width=120, force_terminal=True, color_system="standard").print(render(example_ranking()))
    assert "\x1b[31munstable" in out.getvalue() or "\x1b[2;31munstable" in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (0.02, "0.02 s"),
        (3.21, "3.2 s"),
        (9.96, "10 s"),
        (119.4, "119 s"),
        (119.9, "2.0 min"),
        (125, "2.1 min"),
        (7199, "2.0 h"),
        (100_000, "28 h"),
        (200_000, "2.3 d"),
        (1e8, "1,157 d"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


@pytest.mark.parametrize(
    ("usd", "text"),
    [(0.0, "$0.00"), (0.0004, "<$0.001"), (0.0123, "$0.012"), (0.5, "$0.50"), (1234.5, "$1,234.50")],
)
def test_dollars(usd: float, text: str) -> None:
    assert human_usd(usd) == text


@pytest.mark.parametrize(("steps", "text"), [(0.0, "0"), (1234.4, "1234"), (9999.4, "9999"), (9999.6, "10,000")])
def test_steps(steps: float, text: str) -> None:
    assert human_steps(steps) == text
