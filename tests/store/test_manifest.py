from __future__ import annotations

import json
from typing import Any

import pytest

from raytt.store.manifest import FileRecord, Manifest, ManifestError, OtherFormatError, is_inside

RECORD = FileRecord(file="probe/train-000000.arrow", sha256="ab" * 32, made_from="key")
MANIFEST = Manifest(
    name="r",
    inputs={"probe": {"loss": "x", "samples": 3, "rate": 0.1, "flag": True, "none": None}},
    files={RECORD.file: RECORD},
    seconds={"probe": 1.25},
)


def test_it_comes_back_as_it_was() -> None:
    assert Manifest.from_bytes(MANIFEST.to_bytes()) == MANIFEST
    assert Manifest.from_bytes(Manifest(name="µ").to_bytes()) == Manifest(name="µ")


def test_a_change_of_any_value_is_noticed() -> None:
    data = MANIFEST.to_bytes()
    for old, new in ((b"1.25", b"1.26"), (b"train-000000", b"train-000001"), (b"0.1", b"0.2"), (b"true", b"1")):
        assert old in data
        with pytest.raises(ManifestError, match="checksum"):
            Manifest.from_bytes(data.replace(old, new))


def test_every_truncation_is_noticed() -> None:
    data = MANIFEST.to_bytes()
    for length in range(len(data)):
        with pytest.raises(ManifestError):
            Manifest.from_bytes(data[:length])


def signed(**changes: Any) -> bytes:
    """A manifest that is wrong although its checksum is right."""
    from raytt.store.manifest import _digest

    content = json.loads(MANIFEST.to_bytes())
    content |= changes
    del content["sha256"]
    return json.dumps({**content, "sha256": _digest(content)}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"files": [{"file": "../../etc/passwd", "sha256": "ab" * 32, "made_from": ""}]},
        {"files": [{"file": "/etc/passwd", "sha256": "ab" * 32, "made_from": ""}]},
        {"files": [{"file": "a", "sha256": "short", "made_from": ""}]},
        {"files": [{"file": "a", "sha256": "ab" * 32}]},
        {"files": [3]},
        {"files": {}},
        {"inputs": []},
        {"inputs": {"probe": {"a": []}}},
        {"inputs": {"probe": 3}},
        {"seconds": {"probe": "long"}},
        {"seconds": {"probe": -1}},
        {"seconds": {"probe": True}},
        {"name": 3},
        {"more": 1},
    ],
)
def test_what_does_not_belong_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_bytes(signed(**changes))
    assert Manifest.from_bytes(signed()) == MANIFEST


def test_another_layout_is_told_apart() -> None:
    with pytest.raises(OtherFormatError, match="layout 99"):
        Manifest.from_bytes(signed(format=99))


@pytest.mark.parametrize("file", ["a", "a/b.arrow", "probe/train-000000.arrow", "x-1_2.json"])
def test_paths_below(file: str) -> None:
    assert is_inside(file)


@pytest.mark.parametrize(
    "file", ["", ".", "..", "../a", "a/../b", "/a", "a//b", "a/", "a\\b", ".a", "a/.b", "a\n", "C:x"]
)
def test_paths_that_lead_out(file: str) -> None:
    assert not is_inside(file)
