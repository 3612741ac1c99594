"""A ranking as one line of a job's log, which is the one way back to the user's machine that every job server has.

``python -m raytt.cluster.plumbing.hand_over FILE`` is what a submitted job ends with.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import sys
import zlib
from pathlib import Path
from typing import Any

from raytt.errors import StoreError

MARK = "raytt-ranking-1"
"""Begins the line; followed by the checksum of what comes, and the compressed JSON in base 64."""

_MOST_BYTES = 1 << 28


def to_line(data: bytes) -> str:
    """The line of a JSON document."""
    packed = base64.b64encode(zlib.compress(data, 9)).decode()
    return f"{MARK} {hashlib.sha256(packed.encode()).hexdigest()} {packed}"


def from_line(line: str) -> Any:
    """The document of a line.

    Raises:
        StoreError: If the line is cut off or was changed.
    """
    mark, _, rest = line.strip().partition(" ")
    digest, _, packed = rest.partition(" ")
    if mark != MARK or hashlib.sha256(packed.encode()).hexdigest() != digest:
        raise StoreError("The ranking in the job's log is damaged: its checksum is not that of its contents.")
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(base64.b64decode(packed, validate=True), _MOST_BYTES)
        return json.loads(data)
    except (ValueError, binascii.Error, zlib.error, RecursionError) as error:
        raise StoreError(f"The ranking in the job's log is no JSON: {error}.") from error


if __name__ == "__main__":
    # The file comes from this very job; a line of its own, whatever was printed before.
    print(f"\n{to_line(Path(sys.argv[1]).read_bytes())}", flush=True)
