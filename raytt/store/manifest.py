"""The manifest of a run directory: what it was made from, and every finished file with its checksum."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from raytt.store.facts import Fact

FORMAT = 3
"""Version of the run directory's layout."""

_FILE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ManifestError(ValueError):
    """It is no manifest that raytt wrote, or was changed since."""


class OtherFormatError(ManifestError):
    """It has another layout than `FORMAT`."""


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """A file of the run directory, as the manifest lists it."""

    file: str
    """Path below the run directory, with forward slashes."""
    sha256: str
    """Of its bytes, 64 hexadecimal digits."""
    made_from: str
    """Fingerprint of everything its contents depend on."""


@dataclass(kw_only=True)
class Manifest:
    """What ``manifest.json`` holds."""

    name: str
    """Of the run."""
    inputs: dict[str, dict[str, Fact]] = field(default_factory=dict)
    """By section ("probe", "validation"), the facts that everything in the run depends on."""
    files: dict[str, FileRecord] = field(default_factory=dict)
    """Finished files by path."""
    seconds: dict[str, float] = field(default_factory=dict)
    """What each phase has taken so far, over all calls that went on with this run."""

    def to_bytes(self) -> bytes:
        """As JSON, with a checksum of its own."""
        content = {
            "format": FORMAT,
            "name": self.name,
            "inputs": self.inputs,
            "seconds": self.seconds,
            "files": [asdict(self.files[file]) for file in sorted(self.files)],
        }
        return json.dumps({**content, "sha256": _digest(content)}, indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """What `to_bytes` gave.

        Raises:
            OtherFormatError: If it has another layout.
            ManifestError: If it is anything else, or was changed since.
        """
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ManifestError(f"no JSON: {error}") from error
        _require(isinstance(content, dict) and "format" in content, "no manifest")
        if content["format"] != FORMAT:
            raise OtherFormatError(f"layout {content['format']!r}")
        _require(set(content) == {"format", "name", "inputs", "seconds", "files", "sha256"}, "other keys than expected")
        _require(content.pop("sha256") == _digest(content), "its checksum is not that of its contents")
        _require(isinstance(content["name"], str), "name")
        return cls(
            name=content["name"],
            inputs=_inputs(content["inputs"]),
            files=_files(content["files"]),
            seconds=_seconds(content["seconds"]),
        )


def is_inside(file: str) -> bool:
    """Whether a path below the run directory stays below it: plain names, none of which begins with a dot."""
    return _FILE.fullmatch(file) is not None


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ManifestError(what)


def _inputs(given: Any) -> dict[str, dict[str, Fact]]:
    _require(isinstance(given, dict), "inputs")
    for facts in given.values():
        _require(isinstance(facts, dict), "inputs")
        _require(all(fact is None or isinstance(fact, str | int | float) for fact in facts.values()), "inputs")
    return dict(given)


def _files(given: Any) -> dict[str, FileRecord]:
    _require(isinstance(given, list), "files")
    files = {}
    for entry in given:
        _require(isinstance(entry, dict) and set(entry) == {"file", "sha256", "made_from"}, "files")
        _require(all(isinstance(value, str) for value in entry.values()), "files")
        _require(is_inside(entry["file"]), f"the path {entry['file']!r}")
        _require(_SHA256.fullmatch(entry["sha256"]) is not None, "files")
        files[entry["file"]] = FileRecord(**entry)
    return files


def _seconds(given: Any) -> dict[str, float]:
    _require(isinstance(given, dict), "seconds")
    for value in given.values():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        _require(number and math.isfinite(value) and value >= 0.0, "seconds")
    return dict(given)
