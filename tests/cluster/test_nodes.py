"""Real clusters of several nodes, in processes of their own because a process has one Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from raytt.workflows import step_costs
from tests.cluster import cluster_run

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def alone(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The ranking on one node."""
    with pytest.MonkeyPatch.context() as patch:
        # Put back afterwards what the script replaces.
        patch.setattr(step_costs, "measure_step_times", step_costs.measure_step_times)
        return cluster_run.ranking(tmp_path_factory.mktemp("alone")).to_json()["candidates"]  # type: ignore[no-any-return]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "mode", ["nodes", pytest.param("kill", marks=pytest.mark.slow), pytest.param("client", marks=pytest.mark.slow)]
)
def test_a_cluster_gives_the_same_bits(alone: list[Any], tmp_path: Path, mode: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", cluster_run.__name__, mode, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=880,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == alone
