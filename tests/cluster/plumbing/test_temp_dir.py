from __future__ import annotations

from pathlib import Path

import pytest

from raytt.cluster.plumbing.temp_dir import MOST_BYTES, SHORT, temp_options


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def test_ray_chooses_where_there_is_room_for_its_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    assert temp_options() == {}
    monkeypatch.setenv("TMPDIR", "/local/scratch/")
    assert temp_options() == {}


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_long_directory_keeps_what_is_spilled(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, str(tmp_path / ("x" * 40)))
    assert temp_options() == {"_temp_dir": SHORT}
    (tmp_path / ("x" * 40)).mkdir()
    assert temp_options() == {"_temp_dir": SHORT, "object_spilling_directory": str(tmp_path / ("x" * 40))}


def test_rays_own_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/" + "x" * 60)
    monkeypatch.setenv("RAY_TMPDIR", "/short")
    assert temp_options() == {}


def test_the_longest_path_that_is_left_to_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    # /ray/session_<26 digits and signs>_<7 digits>/sockets/plasma_store: 68 bytes.
    for length, short in ((MOST_BYTES - 68, False), (MOST_BYTES - 67, True)):
        monkeypatch.setenv("TMPDIR", "/" + "x" * (length - 1))
        assert ("_temp_dir" in temp_options()) == short


def test_where_the_short_directory_cannot_be_written_ray_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/" + "x" * 60)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert temp_options() == {}
