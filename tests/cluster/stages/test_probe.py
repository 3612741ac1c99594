from __future__ import annotations

import io
import linecache
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pytest
import ray
import torch
from torch import Tensor, nn

from raytt.cluster.plumbing import shipping
from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.run_files import Files
from raytt.cluster.plumbing.session import Session, WorkerResources
from raytt.cluster.plumbing.workers import Limits
from raytt.cluster.stages.probe import Probed, blocks_of, probe
from raytt.errors import InputError, StoreError, WorkerError
from raytt.probe.settings import ProbeSettings
from raytt.probe.worker import ProbeWorker
from raytt.store.run import Run
from raytt.task.task import Task
from tests.support.actors import clerk

# Workers cannot import test modules.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.usefixtures("shared_actors")

N, C, BLOCK = 22, 3, 4
SETTINGS = ProbeSettings(proj_dim=32, proj_seed=7, block_size=BLOCK)
INDEX = np.array([*range(18), 20, 21])


def _network(seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, C))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return net


def _data(seed: int = 0, count: int = N) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 5, generator=generator), torch.randint(0, C, (count,), generator=generator)


TASK = Task(mode="eval", name="tiny", model=_network, data=_data, validation=lambda: _data(1, 5))


def _probe(
    folder: Path,
    task: Task = TASK,
    *,
    settings: ProbeSettings = SETTINGS,
    num_workers: int = 1,
    validation: bool = False,
    index: Any = INDEX,
    limits: Limits | None = None,
    stream: TextIO | None = None,
) -> tuple[Probed, Run]:
    run = Run.open(folder, "r", task_name="t")
    with shipping.by_value(task):
        probed = probe(
            task,
            shipping.put(task),
            settings=settings,
            samples={"train": index} | ({"validation": np.arange(5)} if validation else {}),
            num_samples_full=N,
            resources=WorkerResources(),
            num_workers=num_workers,
            run=run,
            files=Files(Session(started_here=False, is_client=False), run.storage, clerk()),
            phase=Phase("probe", "", stream),
            limits=limits,
        )
    return probed, run


def _hashes(probed: Probed) -> list[str]:
    return [record.sha256 for records in probed.shards.values() for record in records]


@pytest.fixture(scope="module")
def undisturbed(ray_session: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one worker."""
    folder = tmp_path_factory.mktemp("undisturbed")
    _probe(folder, validation=True)
    return folder


@pytest.fixture
def finished(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(undisturbed, tmp_path / "copy")
    return tmp_path / "copy"


def test_blocks_do_not_depend_on_workers() -> None:
    blocks = blocks_of({"train": INDEX, "validation": np.arange(5)}, BLOCK)
    assert [block.file for block in blocks[4:]] == [
        "probe/train-000004.arrow",
        "probe/validation-000000.arrow",
        "probe/validation-000001.arrow",
    ]
    assert blocks[4].label == "train samples 16…21"
    np.testing.assert_array_equal(np.concatenate([b.index for b in blocks if b.split == "train"]), INDEX)


def test_shards_are_those_of_a_worker_without_ray(finished: Path) -> None:
    probed, run = _probe(finished, validation=True)
    assert probed.computed == 0
    plain = ProbeWorker(TASK, SETTINGS, INDEX)
    for split, index in (("train", INDEX), ("validation", np.arange(5))):
        shards = [run.storage.read_arrays(record) for record in probed.shards[split]]  # type: ignore[index]
        expected = plain.probe(index, split)  # type: ignore[arg-type]
        arrays = {name: array for name, array in vars(expected).items() if array is not None}
        assert set(arrays) == {name for shard in shards for name in shard}
        for name, array in arrays.items():
            np.testing.assert_array_equal(np.concatenate([shard[name] for shard in shards]), array)
    assert probed.facts == plain.facts()


@pytest.mark.usefixtures("own_actors")
def test_three_workers_give_the_same_bits(finished: Path, tmp_path: Path) -> None:
    parallel, _ = _probe(tmp_path, validation=True, num_workers=3)
    assert parallel.computed == 7
    assert _hashes(parallel) == _hashes(_probe(finished, validation=True)[0])


@pytest.mark.usefixtures("own_actors")
def test_a_worker_killed_on_the_way_changes_nothing(finished: Path, tmp_path: Path) -> None:
    marker = tmp_path / "killed"

    def forward(model: nn.Module, inputs: Tensor) -> Tensor:
        # The plan is made on the first block; the second block's sample 4 is met in the middle of the probe.
        if torch.equal(inputs[0], _data()[0][4]) and not marker.exists():
            marker.touch()
            os._exit(1)
        outputs: Tensor = model(inputs)
        return outputs

    disturbed, _ = _probe(tmp_path, replace(TASK, forward=forward), num_workers=2, validation=True)
    assert marker.exists()
    assert _hashes(disturbed) == _hashes(_probe(finished, validation=True)[0])


def test_an_interrupted_run_goes_on_where_it_was(finished: Path, tmp_path: Path) -> None:
    def forward(model: nn.Module, inputs: Tensor) -> Tensor:
        if not (tmp_path / "mended").exists() and torch.equal(inputs[0], _data()[0][12]):
            raise OSError("the disk is gone")
        outputs: Tensor = model(inputs)
        return outputs

    task = replace(TASK, forward=forward)
    with pytest.raises(WorkerError, match=r"Probing train samples 12…15 failed:[\s\S]*the disk is gone"):
        _probe(tmp_path, task, limits=Limits(retries=0))
    (tmp_path / "mended").touch()
    probed, _ = _probe(tmp_path, task)
    # Blocks 0 to 2 were written; the write of the last of them may have been cut off.
    assert probed.computed in (2, 3)
    assert _hashes(probed) == _hashes(_probe(finished)[0])


def test_blocks_are_listed_while_others_are_worked_on(tmp_path: Path) -> None:
    def forward(model: nn.Module, inputs: Tensor) -> Tensor:
        if torch.equal(inputs[0], _data()[0][16]):
            # The last block ends once those before it are in the manifest: a killed driver would have kept them.
            deadline = time.monotonic() + 300
            while "train-000003.arrow" not in (tmp_path / "r" / "manifest.json").read_text():
                assert time.monotonic() < deadline
                time.sleep(0.05)
        outputs: Tensor = model(inputs)
        return outputs

    probed, _ = _probe(tmp_path, replace(TASK, forward=forward), limits=Limits(retries=0))
    assert probed.computed == 5


def test_a_block_that_keeps_failing_is_reported_with_its_samples_and_traceback(tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    tries.mkdir()

    def forward(model: nn.Module, inputs: Tensor) -> Tensor:
        if torch.equal(inputs[0], _data()[0][12]):
            (tries / str(time.time_ns())).touch()
            raise OSError("the disk is gone")
        outputs: Tensor = model(inputs)
        return outputs

    with pytest.raises(WorkerError, match=r"^Probing train samples 12…15 failed 3 times:") as caught:
        _probe(tmp_path, replace(TASK, forward=forward), num_workers=2)
    assert "in forward" in str(caught.value)
    assert "OSError: the disk is gone" in str(caught.value)
    assert len(list(tries.iterdir())) == 3


def test_validation_is_added_to_a_run_without(finished: Path, tmp_path: Path) -> None:
    assert _probe(tmp_path)[0].computed == 5
    both, _ = _probe(tmp_path, validation=True)
    assert both.computed == 2
    assert _hashes(both) == _hashes(_probe(finished, validation=True)[0])


def test_a_damaged_shard_is_probed_again(finished: Path) -> None:
    before, run = _probe(finished)
    run.storage.write_bytes("probe/train-000001.arrow", b"junk")
    (finished / "r" / "probe" / "train-000003.arrow").unlink()
    after, _ = _probe(finished)
    assert after.computed == 2
    assert _hashes(after) == _hashes(before)


_CHANGED: dict[str, dict[str, Any]] = {
    "proj_dim: 32 → 64": {"settings": replace(SETTINGS, proj_dim=64)},
    'precision: "float32" → "bfloat16"': {"settings": replace(SETTINGS, precision="bfloat16")},
    "proj_seed: 7 → 8": {"settings": replace(SETTINGS, proj_seed=8)},
    "weights: ": {"task": replace(TASK, model=lambda: _network(1))},
    "data: ": {"task": replace(TASK, data=lambda: _data(3))},
    "samples: 20 → 12": {"index": INDEX[:12]},
    "positions: ": {"index": INDEX + (INDEX > 19)[::-1]},
    'trainable: "\\*" → "2.\\*"': {"task": replace(TASK, trainable=["2.*"])},
    'loss: "CrossEntropy': {"task": replace(TASK, loss="squared_error", data=lambda: (_data()[0], torch.zeros(N, C)))},
}


@pytest.mark.parametrize("message", _CHANGED)
def test_changed_inputs_are_refused_by_name(finished: Path, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        _probe(finished, **_CHANGED[message])


def test_an_edited_forward_is_noticed(tmp_path: Path) -> None:
    def edition(text: str) -> Task:
        # As if the user's file had been edited between two runs.
        (tmp_path / "mine.py").write_text(text)
        namespace: dict[str, Any] = {"__name__": "mine"}
        exec(compile(text, str(tmp_path / "mine.py"), "exec"), namespace)
        return replace(TASK, forward=namespace["forward"])

    _probe(tmp_path, edition("def forward(model, x):\n    return model(x)\n"))
    linecache.clearcache()
    with pytest.raises(StoreError, match=r"forward: "):
        _probe(tmp_path, edition("def forward(model, x):\n    return model(2 * x)\n"))


def test_a_factory_that_fails_on_the_worker_shows_its_traceback(tmp_path: Path) -> None:
    def model() -> nn.Module:
        raise FileNotFoundError("weights.bin")

    with pytest.raises(WorkerError) as caught:
        _probe(tmp_path, replace(TASK, model=model))
    assert "FileNotFoundError: weights.bin" in str(caught.value)
    assert "in model" in str(caught.value)


def test_bad_labels_come_back_as_an_input_error(tmp_path: Path) -> None:
    task = replace(TASK, data=lambda: (_data()[0], torch.full((N,), 9)))
    with pytest.raises(InputError, match=r"Labels run from 9 to 9, but the network has 3 outputs"):
        _probe(tmp_path, task)


def test_a_factory_without_a_seed_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not give the same weights on every call") as caught:
        _probe(tmp_path, replace(TASK, model=lambda: nn.Linear(5, C)))
    assert "fixed seed" in caught.value.remedy


def test_a_factory_that_differs_between_workers_is_noticed(tmp_path: Path) -> None:
    def model() -> nn.Module:
        return _network(os.getpid())

    def collate(items: list[Any]) -> Any:
        # Nobody reads on before there are two.
        (tmp_path / f"worker-{os.getpid()}").touch()
        deadline = time.monotonic() + 300
        while len(list(tmp_path.glob("worker-*"))) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return torch.utils.data.default_collate(items)

    task = replace(TASK, model=model, collate=collate)
    with pytest.raises(InputError, match="does not give the same weights on every call"):
        _probe(tmp_path, task, num_workers=2)


def test_memory_that_runs_out_on_a_worker_is_told_and_recorded(finished: Path, tmp_path: Path) -> None:
    def forward(model: nn.Module, inputs: Tensor) -> Tensor:
        # The plan is made on the first block; in the second there is room for two samples.
        if len(inputs) > 2 and torch.equal(inputs[0], _data()[0][4]):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        outputs: Tensor = model(inputs)
        return outputs

    told = io.StringIO()
    disturbed, run = _probe(tmp_path, replace(TASK, forward=forward), stream=told)
    assert told.getvalue() == (
        "  probe  train samples 4…7: the device 'cpu' of a worker ran out of memory; it goes on with 2 samples with "
        "transients of at most 256 MiB at a time, which changes the last bits of its rows.\n"
    )
    found = [run.storage.read_arrays(record) for record in disturbed.shards["train"]]
    assert "halvings" not in found[0]
    assert [shard["halvings"].tolist() for shard in found[1:]] == [[2] * len(shard["rows"]) for shard in found[1:]]
    probed, run = _probe(finished)
    for shard, record in zip(found, probed.shards["train"], strict=True):
        rows = run.storage.read_arrays(record)["rows"]
        np.testing.assert_allclose(shard["rows"], rows, rtol=1e-5, atol=2e-6 * np.abs(rows).max())


def _vanish(*_: Any) -> None:
    raise ray.exceptions.ObjectLostError("aa", None, "")  # type: ignore[no-untyped-call]


def test_rows_lost_before_they_are_written_are_computed_again(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: list[str] = []
    save = Files.save

    def unlucky(self: Files, file: str, arrays: Any, *, made_from: str) -> Any:
        if len(lost) < 2 and file not in lost:
            lost.append(file)
            return ray.remote(_vanish).options(num_cpus=0).remote()
        return save(self, file, arrays, made_from=made_from)

    monkeypatch.setattr(Files, "save", unlucky)
    probed, _ = _probe(tmp_path, num_workers=2)
    assert len(lost) == 2
    assert _hashes(probed) == _hashes(_probe(finished)[0])
