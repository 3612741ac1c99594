"""Actors that share processes: starting a process takes seconds, nearly all of them for importing torch.

Each stands for an actor of its own: what it is created with and asked for is pickled, computed in another process and
fetched as ever, and errors come back with their remote traceback. Only the process outlives the actor. Whoever tests
that an actor dies, is placed, or holds resources needs real ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest


class _Host:
    """Holds objects and calls their methods."""

    def __init__(self) -> None:
        self._held: dict[int, Any] = {}

    def create(self, key: int, cls: type, *arguments: Any) -> None:
        self._held[key] = cls(*arguments)

    def call(self, key: int, method: str, *arguments: Any) -> Any:
        return getattr(self._held[key], method)(*arguments)

    def drop(self, key: int) -> None:
        del self._held[key]


class _Method:
    def __init__(self, host: Any, key: int, name: str) -> None:
        self._call, self._key, self._name = host.call, key, name

    def options(self, **options: Any) -> _Method:
        self._call = self._call.options(**options)
        return self

    def remote(self, *arguments: Any) -> Any:
        return self._call.remote(self._key, self._name, *arguments)


class SharedActor:
    """What takes the place of an actor's handle."""

    def __init__(self, host: Any, key: int) -> None:
        self.host, self.key = host, key

    def __getattr__(self, name: str) -> _Method:
        return _Method(self.host, self.key, name)


class ActorPool:
    """As many processes as there were actors at a time."""

    def __init__(self) -> None:
        self._free: list[Any] = []
        self._created = 0

    def create(self, cls: type, *arguments: Any) -> SharedActor:
        """An actor in a process that no other actor uses."""
        import ray

        host = self._free.pop() if self._free else ray.remote(_Host).options(num_cpus=0).remote()
        self._created += 1
        host.create.remote(self._created, cls, *arguments)
        return SharedActor(host, self._created)

    def end(self, actor: SharedActor) -> None:
        """What killing the actor would be; its process ends what it is at, and serves the next one."""
        actor.host.drop.remote(actor.key)
        self._free.append(actor.host)


class SharedActorClass:
    """What takes the place of ``ray.remote(cls)``; resources that are asked for are not held."""

    def __init__(self, pool: ActorPool, cls: type) -> None:
        self._pool, self._cls = pool, cls

    def options(self, **_: Any) -> SharedActorClass:
        return self

    def remote(self, *arguments: Any) -> SharedActor:
        return self._pool.create(self._cls, *arguments)


class Standing:
    """What takes the place of ``ray.remote(cls)`` where one actor that keeps nothing may serve everybody."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def options(self, **_: Any) -> Standing:
        return self

    def remote(self) -> Any:
        return self._actor


@cache
def clerk() -> Any:
    """The session's actor that reads and writes run directories."""
    import ray

    from raytt.cluster.plumbing.run_files import Clerk

    return ray.remote(Clerk).options(num_cpus=0, max_concurrency=4).remote()


@contextmanager
def shared_actors(pool: ActorPool) -> Iterator[pytest.MonkeyPatch]:
    """While open, raytt's own actors are created in the pool, and its clerk is the session's."""
    import ray

    from raytt.cluster.plumbing.run_files import Clerk
    from raytt.cluster.stages.prober import Prober

    standing = clerk()
    remote, kill = ray.remote, ray.kill

    def shared_remote(*arguments: Any, **options: Any) -> Any:
        if arguments == (Prober,):
            return SharedActorClass(pool, Prober)
        if arguments == (Clerk,):
            return Standing(standing)
        return remote(*arguments, **options)

    def end(actor: Any, **options: Any) -> None:
        if isinstance(actor, SharedActor):
            pool.end(actor)
        else:
            kill(actor, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "remote", shared_remote)
        patch.setattr(ray, "kill", end)
        yield patch
