from __future__ import annotations

import subprocess
import sys

import raytt


def test_public_names_are_sorted_and_there() -> None:
    assert raytt.__all__ == sorted(raytt.__all__)
    for name in raytt.__all__:
        assert getattr(raytt, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(raytt, "train_everything")


def test_nothing_is_imported_that_is_not_needed() -> None:
    code = """
import sys
import raytt.store.run

assert not {"ray", "torch"} & set(sys.modules), "reading and writing files needs neither"
raytt.Task
assert "ray" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0
