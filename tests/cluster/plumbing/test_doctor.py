from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from raytt.cluster.plumbing import doctor
from raytt.cluster.plumbing.doctor import Verdict, check_packages, check_python, check_ray, check_storage


def test_an_old_python() -> None:
    assert check_python((3, 11, 0)).verdict is Verdict.GOOD
    old = check_python((3, 10, 9))
    assert old.verdict is Verdict.BAD
    assert "3.10.9" in old.found
    assert "3.11" in old.remedy


def test_packages_that_are_missing_or_old() -> None:
    def find(name: str) -> str:
        if name in ("ray", "transformers"):
            raise PackageNotFoundError(name)
        return "0.1" if name == "scipy" else version(name)

    needed, examples = check_packages(find)
    assert needed.verdict is Verdict.BAD
    assert "ray is missing" in needed.found
    assert "scipy 0.1 (needs >=" in needed.found
    assert "pip install" in needed.remedy
    assert examples.verdict is Verdict.WARNING
    assert "transformers" in examples.found
    assert "raytt[examples]" in examples.remedy


def test_little_memory() -> None:
    assert doctor.check_memory(64.0).verdict is Verdict.GOOD
    little = doctor.check_memory(2.0)
    assert little.verdict is Verdict.WARNING
    assert "--num-workers" in little.remedy


def test_little_shared_memory() -> None:
    container = doctor.check_shared_memory(gib=64 / 1024)
    assert container.verdict is Verdict.WARNING
    assert "0.06 GiB" in container.found
    assert "--shm-size" in container.remedy
    assert doctor.check_shared_memory(place="/nowhere").verdict is Verdict.GOOD


def test_storage_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    good = check_storage(str(tmp_path / "runs"))
    assert good.verdict is Verdict.GOOD
    assert "GiB free" in good.found
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    assert check_storage(str(tmp_path / "there")).verdict is Verdict.GOOD
    assert (tmp_path / "there").is_dir()
    (tmp_path / "file").write_text("")
    bad = check_storage(str(tmp_path / "file"))
    assert bad.verdict is Verdict.BAD
    assert "Cannot write" in bad.found
    assert "--storage-path" in bad.remedy
    assert check_storage("nonsense://bucket/x").verdict is Verdict.BAD


@pytest.mark.usefixtures("ray_session")
def test_a_cluster_that_is_there() -> None:
    found = check_ray(None)
    assert found.verdict is Verdict.GOOD, found
    assert "1 node, 4 CPUs, 0 GPUs" in found.found


@pytest.mark.usefixtures("ray_session")
def test_versions_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    class Told:
        """Stands for the task: a worker with another torch."""

        def remote(self) -> object:
            import ray

            return ray.put({**doctor._versions(), "torch": "1.0"})

    import ray

    monkeypatch.setattr(ray, "remote", lambda **_: lambda _: Told())
    found = check_ray(None)
    assert found.verdict is Verdict.BAD
    assert "1.0 on a worker" in found.found


def test_a_job_server_is_told_with_its_own_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    found = check_ray(None)
    assert found.verdict is Verdict.BAD
    assert "from RAY_ADDRESS" in found.found
    assert "unset RAY_ADDRESS" in found.remedy


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    found = check_ray("127.0.0.1:1")
    assert found.verdict is Verdict.BAD
    assert "no Ray cluster to connect to at '127.0.0.1:1'" in found.found
    assert "ray start --head" in found.remedy
