"""What accelerators can do at most: dense peak rates and memory bandwidths, each with its source.

A card of which no source could be checked is not in the table (AWS's A10G, for one): there a step time must be timed or
given.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from raytt.errors import InputError

USABLE_SHARE = 0.9
"""Share of a device's nominal memory that training steps can use: an assumption. The rest is error correction (an L4 of
24 GB shows 22.5 GiB), the CUDA context, workspaces of cuBLAS and cuDNN, and what the allocator cannot give to others.
"""


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One accelerator's limits, without sparsity."""

    name: str
    """In SkyPilot's spelling."""
    memory_gib: float
    """Memory, as the maker names it."""
    bandwidth: float
    """Of its memory, bytes per second."""
    fp32: float
    """Peak of float32 arithmetic outside tensor cores, operations per second."""
    tf32: float
    """Peak of tensor cores on float32 inputs rounded to 10 bits."""
    bf16: float
    """Peak of tensor cores on bfloat16 and float16."""
    source: str
    """Where these numbers stand."""

    @property
    def usable_bytes(self) -> float:
        """What training steps can use of its memory, see `USABLE_SHARE`."""
        return USABLE_SHARE * self.memory_gib * 2**30


_BYTES = {"mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40, "mb": 1e6, "gb": 1e9, "tb": 1e12}
_SIZE = re.compile(rf"(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>{'|'.join(_BYTES)})?")

# How torch.cuda.get_device_name writes them. 'H100 NVL' and 'L40S' are other cards.
_DEVICE_NAMES = (
    (re.compile(r"\bL4\b"), "L4"),
    (re.compile(r"\bA10G\b"), "A10G"),
    (re.compile(r"\bA100\b.*\b40GB\b"), "A100-40GB"),
    (re.compile(r"\bA100\b.*\b80GB\b"), "A100-80GB"),
    (re.compile(r"\bH100 PCIe\b"), "H100-PCIE"),
    (re.compile(r"\bH100 80GB HBM3\b"), "H100"),
    (re.compile(r"\bH200$"), "H200"),
)


@cache
def accelerators() -> dict[str, Accelerator]:
    """The table by name."""
    text = files("raytt.pricing").joinpath("hardware.csv").read_text(encoding="utf-8")
    return {
        row["accelerator"]: Accelerator(
            name=row["accelerator"],
            memory_gib=float(row["memory_gib"]),
            bandwidth=1e9 * float(row["bandwidth_gb_per_s"]),
            fp32=1e12 * float(row["fp32_tflops"]),
            tf32=1e12 * float(row["tf32_tflops"]),
            bf16=1e12 * float(row["bf16_tflops"]),
            source=f"{row['source']}{'; ' if row['note'] else ''}{row['note']}",
        )
        for row in csv.DictReader(text.splitlines())
    }


def parse_memory(text: str) -> float:
    """Bytes from a size such as ``24GiB``, ``16 GB`` or ``512MiB``; a plain number is in GiB.

    Raises:
        InputError: If it is something else, or not above 0.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or float(match["number"]) <= 0.0:
        raise InputError(f"Cannot read the memory {text!r}.", "Write it as 24GiB, 16GB or 512MiB.")
    return float(match["number"]) * _BYTES[match["unit"] or "gib"]


def accelerator_of_device(device_name: str | None) -> str | None:
    """The table's name of a device that calls itself ``device_name``; None where it is no accelerator that is known."""
    for pattern, name in _DEVICE_NAMES:
        if device_name is not None and pattern.search(device_name):
            return name
    return None
