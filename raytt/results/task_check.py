"""What `raytt.check` found out about a task: one line per thing tried, with a remedy where something is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """How a check came out."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, kw_only=True)
class TaskFinding:
    """What one check found."""

    what: str
    """What was tried."""
    verdict: Verdict
    """How it came out."""
    found: str
    """What is there, or what is wrong."""
    remedy: str = ""
    """What to do; empty where nothing is."""


@dataclass(frozen=True, kw_only=True)
class TaskCheck:
    """All that was found out about a task."""

    task: str
    """Its name."""
    findings: tuple[TaskFinding, ...]
    """In the order in which things were tried; nothing follows the first that stops all else."""

    @property
    def passed(self) -> bool:
        """Whether nothing is bad."""
        return not any(finding.verdict is Verdict.BAD for finding in self.findings)

    def __str__(self) -> str:
        signs = {Verdict.GOOD: "✓", Verdict.NOTE: "!", Verdict.BAD: "✗"}
        lines = [
            f"{signs[f.verdict]} {f.what:<12} {f.found}" + (f"\n  → {f.remedy}" if f.remedy else "")
            for f in self.findings
        ]
        return "\n".join(lines)
