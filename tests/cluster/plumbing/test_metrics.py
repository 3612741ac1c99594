from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

import pytest

from raytt.cluster.plumbing import metrics
from raytt.cluster.plumbing.metrics import Metrics
from raytt.cluster.plumbing.progress import Reporter


class FakeGauge:
    """Keeps what it was set to."""

    values: dict[str, list[float]]

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        assert description.endswith(".")
        assert tag_keys == ("run",)
        self.name = name

    def set_default_tags(self, tags: dict[str, str]) -> FakeGauge:
        assert tags == {"run": "r"}
        return self

    def set(self, value: float) -> None:
        self.values.setdefault(self.name, []).append(value)


@pytest.fixture
def values(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """What gauges were set to, by name."""
    FakeGauge.values = {}
    monkeypatch.setattr(metrics, "Gauge", FakeGauge)
    return FakeGauge.values


def test_a_run_in_gauges(values: dict[str, list[float]]) -> None:
    reporter = Reporter(io.StringIO())
    reporter.meter = Metrics("r", num_candidates=10)
    with reporter.phase("probe", "x") as phase:
        phase.expect(3, "weights and data")
        phase.advance()
        phase.expect(2, "rows")
        phase.advance(rows=40)
        phase.retried("again")
        phase.advance(rows=20)
    with reporter.phase("solve", "x") as phase:
        phase.expect(4, "simulations")
        for _ in range(4):
            phase.advance()
        phase.expect(2, "full-batch simulations")
        phase.advance()
    assert values["raytt_shards_done"] == [0, 1, 2]
    assert values["raytt_retries"] == [0, 1]
    assert values["raytt_candidates_solved"] == [0, 2, 5, 7, 10, 10]
    first, *speeds = values["raytt_rows_per_second"]
    assert first == 0
    assert all(speed > 0 for speed in speeds)


def test_candidates_that_were_solved_before_count(values: dict[str, list[float]]) -> None:
    reporter = Reporter(None)
    reporter.meter = Metrics("r", num_candidates=10)
    with reporter.phase("solve", "x") as phase:
        phase.expect(0)
    assert values["raytt_candidates_solved"] == [0, 10]


_EXPORTED = """
import sys, time, urllib.request
import ray
from raytt.cluster.plumbing.metrics import Metrics
ray.init(address="local", num_cpus=1, include_dashboard=True, dashboard_port=0, log_to_driver=False)
metrics = Metrics("my-run", num_candidates=4)
metrics.expected("probe", 2)
metrics.advanced("probe", 1, 2, 40)
port = ray.nodes()[0]["MetricsExportPort"]
for _ in range(120):
    try:
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    except OSError:
        text = ""
    lines = [line for line in text.splitlines() if line.startswith("ray_raytt_")]
    if len(lines) >= 4:
        break
    time.sleep(1)
print("\\n".join(lines))
ray.shutdown()
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ray_exports_them() -> None:
    done = subprocess.run([sys.executable, "-c", _EXPORTED], capture_output=True, text=True, timeout=500, check=True)
    found: dict[str, Any] = {line.partition("{")[0]: line for line in done.stdout.splitlines()}
    names = {f"ray_raytt_{name}" for name in ("shards_done", "rows_per_second", "candidates_solved", "retries")}
    assert set(found) == names, done.stdout
    assert 'run="my-run"' in found["ray_raytt_shards_done"]
    assert found["ray_raytt_shards_done"].endswith(" 1.0")
