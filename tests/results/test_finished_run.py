from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from raytt.errors import StoreError
from raytt.results.finished_run import Validated, load_ranking, load_run
from raytt.store.run import Run
from tests.support.fakes import EXAMPLES
from tests.support.run_directory import CHECKS, REFERENCES, VALIDATION, priced_ranking, validation_of, write_run


def test_everything_is_read_back(tmp_path: Path) -> None:
    place = write_run(tmp_path, validation=VALIDATION, reference=REFERENCES)
    run = load_run(place)
    assert run.ranking == priced_ranking()
    assert (run.name, run.place) == ("made", str(place))
    assert all(run.band(candidate) is not None for candidate, _ in EXAMPLES)
    assert run.spectrum is not None
    assert run.statistics is not None
    assert run.statistics.stability_limit() == pytest.approx(0.2)
    assert [item.real_steps for item in run.validation] == [110.0, 50.0]
    assert [check.candidate.optimizer.name for check in run.references] == ["sgd", "adamw"]
    assert [check.to_json()["real_loss"] for check in run.references] == [[2.3, 1.2, 0.7], [2.3, 1.0, 0.5]]
    assert run.facts["probe"]["weights"] == "abc123"


def test_reading_writes_nothing(tmp_path: Path) -> None:
    place = write_run(tmp_path)
    before = {file: file.stat().st_mtime_ns for file in place.rglob("*")}
    load_run(f"{place}/")
    assert {file: file.stat().st_mtime_ns for file in place.rglob("*")} == before


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    place = write_run(tmp_path, curves=False)
    (place / "tangent" / "summary.json").unlink()
    run = load_run(place.as_uri())
    assert (run.spectrum, run.statistics, run.references, run.validation) == (None, None, (), ())
    assert run.band(EXAMPLES[0][0]) is None


def test_a_ranking_from_a_directory_or_a_file(tmp_path: Path) -> None:
    place = write_run(tmp_path)
    assert load_ranking(place) == priced_ranking()
    priced_ranking().save(tmp_path / "r.json")
    assert load_ranking(tmp_path / "r.json") == priced_ranking()


def test_rankings_of_older_versions_have_no_terms(tmp_path: Path) -> None:
    data = priced_ranking().to_json()
    del data["timing"], data["terms"]
    (tmp_path / "old.json").write_text(json.dumps(data))
    found = load_ranking(tmp_path / "old.json")
    assert found.entries == priced_ranking().entries
    assert not found.terms.asks


@pytest.mark.parametrize("what", ["nothing", "no manifest", "no ranking", "broken ranking", "damaged curves"])
def test_runs_that_cannot_be_read(tmp_path: Path, what: str) -> None:
    place = write_run(tmp_path)
    message = {
        "nothing": "is no run directory",
        "no manifest": "is no run directory: it has no manifest.json",
        "no ranking": "its run has not ended",
        "broken ranking": "ranking.json in .* cannot be read",
        "damaged curves": "forecast_curves.arrow .* is damaged",
    }[what]
    if what == "nothing":
        place = tmp_path / "elsewhere"
    elif what == "no manifest":
        (place / "manifest.json").unlink()
    elif what == "no ranking":
        (place / "ranking.json").unlink()
    elif what == "broken ranking":
        Run.find(place).write_json("ranking.json", {"task": "x"}, made_from="k")
    else:
        with (place / "forecast_curves.arrow").open("r+b") as file:
            file.seek(500)
            file.write(b"xxxx")
    with pytest.raises(StoreError, match=message):
        load_run(place)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reference.json", [{**REFERENCES[0], "real_loss": [1.0]}]),
        ("reference.json", [{k: v for k, v in REFERENCES[0].items() if k != "step_error"}]),
        ("reference.json", REFERENCES[0]),
        ("validation.json", validation_of([{"seed": 1}])),
        ("validation.json", CHECKS),
        ("validation.json", {"a": 1}),
    ],
)
def test_other_files_that_are_not_what_they_should_be(tmp_path: Path, name: str, value: Any) -> None:
    key = name.removesuffix(".json")
    place = write_run(tmp_path, **{key: value})
    with pytest.raises(StoreError, match=f"{name} cannot be read"):
        load_run(place)


@pytest.mark.parametrize(
    ("low", "high", "real", "within"),
    [
        (90.0, 120.0, 110.0, True),
        (90.0, 120.0, 130.0, False),
        (90.0, None, 900.0, True),
        (90.0, None, 80.0, False),
        (None, None, 80.0, None),
        (90.0, 120.0, None, None),
    ],
)
def test_whether_real_steps_lie_in_the_interval(
    low: float | None, high: float | None, real: float | None, within: bool | None
) -> None:
    run = Validated(config={}, seed=0, status="", predicted_low=low, predicted_high=high, real_steps=real)
    assert run.within is within


def test_real_runs_to_another_target_are_not_those_of_the_ranking(tmp_path: Path) -> None:
    place = write_run(tmp_path, validation=validation_of(CHECKS, target="loss_ratio=0.2"))
    assert load_run(place).validation == ()


@pytest.mark.parametrize("name", ["ranking.json", "reference.json"])
def test_files_that_were_changed_are_refused(tmp_path: Path, name: str) -> None:
    place = write_run(tmp_path, reference=REFERENCES)
    assert len(load_run(place).references) == 2
    text = (place / name).read_text()
    (place / name).write_text(text.replace("1", "2", 1))
    with pytest.raises(StoreError, match=f"{name} .* is damaged"):
        load_run(place)
