from __future__ import annotations

from pathlib import Path

import pytest

from raytt.store.cache import Cache, Lookup, json_cache
from raytt.store.run import Run


def _run(folder: Path) -> Run:
    return Run.open(folder, "r", task_name="t")


def _squares(run: Run) -> Cache[int, int, float]:
    return json_cache(
        run,
        key=lambda number: f"key-{number}",
        file=lambda number, key: f"squares/{number}-{key}.json",
        encode=lambda square: {"square": square},
        decode=lambda stored: float(stored["square"]),
    )


def _fill(run: Run, *numbers: int) -> Lookup[int, int, float]:
    lookup = Lookup(numbers, _squares(run))
    for i, number in enumerate(lookup.missing):
        lookup.keep(i, number**2)
    return lookup


def test_what_is_kept_is_found_by_the_next_call(tmp_path: Path) -> None:
    first = _fill(_run(tmp_path), 3, 5)
    assert (first.missing, first.results()) == ([3, 5], [9.0, 25.0])
    again = Lookup([5, 7, 3], _squares(_run(tmp_path)))
    assert again.missing == [7]
    again.keep(0, 49)
    assert again.results() == [25.0, 49.0, 9.0]
    assert (tmp_path / "r/squares/7-key-7.json").is_file()


def test_a_result_made_from_something_else_is_missing(tmp_path: Path) -> None:
    run = _run(tmp_path)
    run.write_json("squares/3-key-3.json", {"square": 8}, made_from="another key")
    assert Lookup([3], _squares(run)).missing == [3]


@pytest.mark.parametrize("damage", [b"junk", b'{"square": 10}', b"", None])
def test_a_damaged_or_lost_file_is_missing(tmp_path: Path, damage: bytes | None) -> None:
    run = _run(tmp_path)
    _fill(run, 3, 5)
    if damage is None:
        (tmp_path / "r/squares/3-key-3.json").unlink()
    else:
        run.storage.write_bytes("squares/3-key-3.json", damage)
    lookup = Lookup([3, 5], _squares(_run(tmp_path)))
    assert lookup.missing == [3]
    lookup.keep(0, 9)
    assert lookup.results() == [9.0, 25.0]
    assert Lookup([3, 5], _squares(_run(tmp_path))).missing == []


def test_missing_items_are_sorted_then_by_key_and_results_are_not(tmp_path: Path) -> None:
    lookup = Lookup([2, 11, 4, 10, 3], _squares(_run(tmp_path)), order=lambda number: number % 2)
    assert lookup.missing == [10, 2, 4, 11, 3]
    for i, number in enumerate(lookup.missing):
        lookup.keep(i, number)
    assert lookup.results() == [2.0, 11.0, 4.0, 10.0, 3.0]


def test_results_are_not_given_while_one_is_missing(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        Lookup([3], _squares(_run(tmp_path))).results()
