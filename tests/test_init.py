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


def test_importing_raytt_does_not_import_ray() -> None:
    code = "import raytt, sys; raytt.Task; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
