"""Writing the files that a user names."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from raytt.errors import StoreError


def write_text(path: str | Path, text: str) -> None:
    """Write a file, replacing it as a whole; folders above it are made.

    Raises:
        StoreError: If it cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(partial, path)
        except BaseException:
            os.unlink(partial)
            raise
    except OSError as error:
        raise StoreError(f"Cannot write {path}: {error.strerror or error}. Give a writable file.") from error


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON; NaN and infinite numbers are refused.

    Raises:
        StoreError: If it cannot be written.
    """
    write_text(path, json.dumps(value, allow_nan=False, indent=2, ensure_ascii=False) + "\n")
