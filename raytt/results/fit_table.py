"""Peak memory of training steps by configuration and batch size, and the largest batches that fit some devices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from raytt.pricing.step_memory import Parts


@dataclass(frozen=True, kw_only=True)
class FitRow:
    """Configurations whose steps need the same memory at the same batch size."""

    label: str
    """What they have in common."""
    parts: Mapping[int, Parts]
    """Of the peak, by batch size."""
    largest: tuple[int, ...]
    """Largest batch that fits each device; 0 where none does."""


@dataclass(frozen=True, kw_only=True)
class FitDevice:
    """A device on which a step may run."""

    label: str
    """As the user named it."""
    usable_bytes: float
    """Memory that steps can use."""


@dataclass(frozen=True, kw_only=True)
class FitTable:
    """The memory of a task's training steps."""

    task: str
    """Name of the task."""
    processor: str
    """Which they are computed for: "cpu" with the working space of its kernels, "cuda" without."""
    devices: tuple[FitDevice, ...]
    """Those asked for."""
    rows: tuple[FitRow, ...]
    """One for each kind of configuration."""
    source: str
    """How the memory was found out."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings; with each batch size the peak in bytes and what it is made of."""
        return {
            "task": self.task,
            "processor": self.processor,
            "source": self.source,
            "devices": [asdict(device) for device in self.devices],
            "rows": [
                {
                    "configuration": row.label,
                    "peak_memory_bytes": {str(size): parts.total for size, parts in row.parts.items()},
                    "parts": {str(size): asdict(parts) for size, parts in row.parts.items()},
                    "largest_batch": {d.label: n for d, n in zip(self.devices, row.largest, strict=True)},
                }
                for row in self.rows
            ],
        }
