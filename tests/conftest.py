"""What all tests share: one local Ray for the session and processes on it, since starting one takes seconds."""

from __future__ import annotations

import gc
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.actors import ActorPool
from tests.support.actors import shared_actors as sharing

STARTS = 10
"""Attempts: Ray gives its own processes 15 s to start, which is too little on a machine busy with something else."""


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local Ray of four logical CPUs, so that three workers and a task fit on any machine."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Actors defined in test modules are found by name on the workers, which do not share pytest's sys.path.
    root = Path(__file__).parents[1]
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    with warnings.catch_warnings():
        # Of what a failed attempt had started so far; Ray ends that with this process.
        warnings.simplefilter("ignore", ResourceWarning)
        for attempt in range(1, STARTS + 1):
            try:
                ray.init(
                    address="local",
                    num_cpus=4,
                    include_dashboard=False,
                    object_store_memory=200 << 20,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                )
                break
            except Exception as error:
                if "timed out during startup" not in str(error) or attempt == STARTS:
                    raise
        gc.collect()
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def actor_pool(ray_session: None) -> ActorPool:
    """Processes for actors that need none of their own."""
    return ActorPool()


@pytest.fixture
def shared_actors(actor_pool: ActorPool) -> Iterator[pytest.MonkeyPatch]:
    """Raytt's own actors in processes that are there already; see `tests.support.actors` for what that leaves untested.

    Fixtures of a wider scope are made before it; they have actors of their own unless they share them likewise.
    """
    with sharing(actor_pool) as patch:
        yield patch


@pytest.fixture
def own_actors(shared_actors: pytest.MonkeyPatch) -> None:
    """Where a module's tests share processes, one that needs real actors all the same."""
    shared_actors.undo()
