"""What a manifest holds of a run's inputs. Apart from `raytt.store.fingerprint`, so that whoever only reads and writes
files need not import torch, which takes longer than most files.
"""

from __future__ import annotations

from collections.abc import Mapping

Fact = str | int | float | bool | None
Facts = Mapping[str, Fact]
