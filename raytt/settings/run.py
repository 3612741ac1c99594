"""Where a run is kept, and what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from raytt.settings.declaration import Settings


@dataclass(frozen=True, kw_only=True)
class RunSettings(Settings):
    """The run directory, and what is shown while it is filled."""

    storage_path: str | Path = "runs"
    """Where run directories are kept: a path, or a URI such as s3://bucket/path."""
    name: str | None = None
    """Name of the run; one that was begun is continued. Default: task and time."""
    progress: bool = True
    """Show phases on standard error."""
