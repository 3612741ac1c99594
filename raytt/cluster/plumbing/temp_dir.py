"""Where a Ray that raytt starts keeps its files: paths of Unix sockets must be short, which temporary directories of
batch systems are not.
"""

from __future__ import annotations

import os
import sys

SHORT = "/tmp/ray"
"""Where Ray keeps its files unless ``RAY_TMPDIR`` or ``TMPDIR`` says something else."""
MOST_BYTES = 103 if sys.platform == "darwin" else 107
"""Bytes of a Unix socket's path: ``sun_path`` of unix(7) less its final zero byte."""

_LONGEST_SOCKET = "/ray/session_2026-11-28_05-31-49_123456_1234567/sockets/plasma_store"
"""What Ray puts below the temporary directory, with the longest number that a process can have."""


def temp_options() -> dict[str, str]:
    """Keywords for ``ray.init``: none where Ray's own choice leaves room for its sockets' names.

    Otherwise sessions go to `SHORT`, but objects that do not fit into memory still go where the user wants large files.
    """
    wanted = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    if len(os.fsencode(wanted.rstrip("/") + _LONGEST_SOCKET)) <= MOST_BYTES or not os.access("/tmp", os.W_OK):
        return {}
    return {"_temp_dir": SHORT} | ({"object_spilling_directory": wanted} if os.path.isdir(wanted) else {})
