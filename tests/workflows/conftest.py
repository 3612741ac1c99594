"""What the tests of whole rankings share: one finished run, made once for the session."""

from __future__ import annotations

from pathlib import Path

import pytest

import raytt
from raytt.workflows import step_costs


@pytest.fixture(scope="session")
def base(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[raytt.Ranking, Path]:
    """A finished run with two workers, in processes of their own; to be read, or copied and gone on with."""
    from tests.workflows.test_rank import _rank, steady_times

    folder = tmp_path_factory.mktemp("base")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_costs, "measure_step_times", steady_times)
        return _rank(folder), folder
