from __future__ import annotations

import runpy
import sys
import zlib
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from raytt.cluster.plumbing import hand_over
from raytt.cluster.plumbing.hand_over import MARK, from_line, to_line
from raytt.errors import StoreError


def test_a_document_comes_back() -> None:
    line = to_line('{"µ": [1, null]}'.encode())
    assert "\n" not in line
    assert line.isascii()
    assert from_line(f"{line}\r\n") == {"µ": [1, None]}


def test_the_module_prints_a_files_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.json").write_text('{"a": 1}')
    monkeypatch.setattr(sys, "argv", [hand_over.__file__, str(tmp_path / "r.json")])
    runpy.run_path(hand_over.__file__, run_name="__main__")
    printed = capsys.readouterr().out
    assert from_line(printed.splitlines()[-1]) == {"a": 1}
    assert printed.startswith("\n")


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
