"""Rankings under faults, on clusters of several nodes on this machine; each mode is a process of its own.

``fault_run.py cluster MODE FOLDER``: starts a cluster, ranks while MODE happens to it, prints the candidates as JSON in
its last line. ``actor``: a worker process is killed. ``drain``: a node is drained as before a preemption, then goes.
``join``: the run begins on one small node, and a spot node joins.

``fault_run.py serve``: starts a cluster, prints its address, and keeps it until its input ends.

``fault_run.py drive ADDRESS STORAGE LOG PHASE``: ranks on that cluster and kills itself in a phase, if one is named.
Every file that it records in the run directory is noted in LOG.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray
from ray.cluster_utils import Cluster
from torch import Tensor, nn

import raytt
from raytt.cluster.plumbing import progress
from raytt.cluster.stages import reduce, reducer
from raytt.store.run import Run
from raytt.workflows import rank as pipeline
from raytt.workflows import workspace
from tests.cluster import cluster_run

COMMON = {"object_store_memory": 100 << 20}
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
SPOT = {"ray.io/market-type": "spot"}


class NotingForward:
    """Slow, and leaves a file for every call: which process it was, on which node."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, net: nn.Module, inputs: Tensor) -> Tensor:
        node = ray.get_runtime_context().get_node_id()
        Path(self.folder, f"{node}-{os.getpid()}-{time.time_ns()}").touch()
        time.sleep(0.5)
        outputs: Tensor = net(inputs)
        return outputs


def noting_finish(folder: str) -> Callable[..., Any]:
    """The last step of the reduction, which leaves a file with the market of its node."""

    def finish(*arguments: Any) -> Any:
        labels = ray.get_runtime_context().get_node_labels()
        Path(folder, f"reduced-on-{labels.get('ray.io/market-type', 'unknown')}").touch()
        return reducer.finish(*arguments)

    return finish


def in_probe(storage: Path, action: Callable[[], None]) -> threading.Thread:
    """Do something once the first shard is written."""

    def wait() -> None:
        while not list(storage.glob("r/probe/*.arrow")):
            time.sleep(0.02)
        action()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def kill_a_worker(notes: Path) -> None:
    """Kill the process that was last seen at work."""
    newest = max(notes.glob("*-*-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    os.kill(int(newest.name.split("-")[1]), signal.SIGKILL)


def drain(cluster: Cluster, node: Any) -> None:
    """Announce that a node will be taken, and take it."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", cluster.address]
    command += ["--node-id", node.node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
    command += ["--reason-message", "preemption", "--deadline-remaining-seconds", "3"]
    subprocess.run(command, check=True, capture_output=True)
    time.sleep(3)
    cluster.remove_node(node, allow_graceful=False)


def run_cluster(mode: str, folder: Path) -> Any:
    """The candidates of a ranking during which something happens."""
    notes, storage = folder / "notes", folder / "runs"
    notes.mkdir()
    head = {"num_cpus": 0, "include_dashboard": False, **COMMON}
    cluster = Cluster(initialize_head=True, head_node_args={**head, "_system_config": QUICK})
    sizes = [1] if mode == "join" else [2, 2]
    nodes = [cluster.add_node(num_cpus=size, **COMMON) for size in sizes]
    actions: dict[str, Callable[[], Any]] = {
        "actor": lambda: kill_a_worker(notes),
        "drain": lambda: drain(cluster, nodes[1]),
        "join": lambda: nodes.append(cluster.add_node(num_cpus=2, labels=SPOT, **COMMON)),
    }
    # Written by value into the tasks: workers cannot import this file.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    reduce._FINISH = ray.remote(num_cpus=1, num_returns=3, max_retries=3)(noting_finish(str(notes)))
    thread = in_probe(storage, actions[mode])
    task = raytt.Task(
        mode="eval", name="tiny", model=cluster_run.model, data=cluster_run.data, forward=NotingForward(str(notes))
    )
    settings: dict[str, Any] = {"min_workers": 1} if mode == "join" else {}
    try:
        result = cluster_run.ranking(storage, address=cluster.address, task=task, **settings)
        thread.join(timeout=120)
        at_work = {path.name.split("-")[0] for path in notes.glob("*-*-*") if not path.name.startswith("reduced")}
        if mode == "join":
            # Both probed; what must not be lost stayed off the spot node.
            assert at_work == {node.node_id for node in nodes}, (at_work, nodes)
            assert {path.name for path in notes.glob("reduced-*")} == {"reduced-on-unknown"}
    finally:
        cluster.shutdown()
    return result.to_json()["candidates"]


def serve() -> None:
    """A cluster for drivers to come and go."""
    head = {"num_cpus": 0, "include_dashboard": False, **COMMON}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node(num_cpus=2, **COMMON)
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()


def drive(address: str, storage: str, log: str, phase: str) -> Any:
    """The candidates of a ranking, unless this process is killed before."""

    def die(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    record, advance = Run.record, progress.Phase.advance
    # In the probe, weights and data of four blocks are looked at before rows are computed: this is after two blocks.
    deadly = {"probe": 7, "reduce": 1, "reference": 1, "tangents": 4, "solve": 1}
    advances = 0

    def noted(self: Run, *entries: Any) -> None:
        record(self, *entries)
        with open(log, "a") as file:
            file.writelines(f"{entry.file}\n" for entry in entries)

    def counted(self: progress.Phase, **options: Any) -> None:
        nonlocal advances
        advance(self, **options)
        advances += self.name == phase
        if self.name == phase and advances == deadly.get(phase):
            die()

    Run.record = noted  # type: ignore[method-assign]
    progress.Phase.advance = counted  # type: ignore[method-assign]
    if phase == "start":
        workspace.open_data = die
    if phase == "rank":
        pipeline.rank_candidates = die
    changes: dict[str, Any] = {"address": address}
    if phase == "time":
        changes["on_times"] = die
    return cluster_run.ranking(storage, **changes).to_json()["candidates"]


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    elif sys.argv[1] == "drive":
        print(json.dumps(drive(*sys.argv[2:])))
    else:
        print(json.dumps(run_cluster(sys.argv[2], Path(sys.argv[3]))))
