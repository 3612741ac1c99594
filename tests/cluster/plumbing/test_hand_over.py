from __future__ import annotations

import subprocess
import sys
import zlib
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from raytt.cluster.plumbing.hand_over import MARK, from_line, to_line
from raytt.errors import StoreError


def test_a_document_comes_back() -> None:
    line = to_line('{"µ": [1, null]}'.encode())
    assert "\n" not in line
    assert line.isascii()
    assert from_line(f"{line}\r\n") == {"µ": [1, None]}


def test_the_module_prints_a_files_line(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"a": 1}')
    command = [sys.executable, "-m", "raytt.cluster.plumbing.hand_over", str(tmp_path / "r.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert from_line(done.stdout.splitlines()[-1]) == {"a": 1}
    assert done.stdout.startswith("\n")


def test_every_cut_and_change_is_noticed() -> None:
    line = to_line(b'{"a": 1}')
    for changed in (line[:-4], line[:-1] + "A", line.replace(MARK, "x"), "", MARK):
        with pytest.raises(StoreError, match="is damaged"):
            from_line(changed)


@pytest.mark.parametrize(
    "packed", [b64encode(zlib.compress(b"{")), b64encode(b"x"), b"&", b64encode(zlib.compress(b"\xff"))]
)
def test_what_is_no_json_is_refused(packed: bytes) -> None:
    with pytest.raises(StoreError, match="is no JSON"):
        from_line(f"{MARK} {sha256(packed).hexdigest()} {packed.decode()}")
