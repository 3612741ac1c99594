"""The reduction on Ray against the same arithmetic in one piece, from shards that no network made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import ray
import torch

from raytt.cluster.plumbing.progress import Phase
from raytt.cluster.plumbing.run_files import Files
from raytt.cluster.plumbing.session import Session
from raytt.cluster.stages.probe import Probed
from raytt.cluster.stages.reduce import Reduced, reduce
from raytt.dynamics.kernel.statistics import statistics_of
from raytt.dynamics.tangent import Samples
from raytt.errors import InputError
from raytt.probe.settings import ProbeSettings
from raytt.probe.worker import ProbeFacts
from raytt.store.run import Arrays, Run
from raytt.task.losses import CrossEntropy, CustomLoss
from tests.support.actors import clerk
from tests.support.spectra import spectrum_from_gram

pytestmark = pytest.mark.usefixtures("ray_session")

N, N_VAL, C, BLOCK = 21, 6, 3, 4
FACTS = ProbeFacts(num_outputs=C, outputs_per_sample=C, num_params=9, num_trainable=9, notes=())


def _arrays(count: int, proj_dim: int, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        "index": np.arange(count),
        "outputs": rng.normal(size=(count, C)).astype(np.float32),
        "rows": rng.normal(size=(count, C, proj_dim)).astype(np.float32),
        "radial": rng.normal(size=(count, C)).astype(np.float32),
        "targets": rng.integers(0, C, count),
    }


def _reduce(folder: Path, proj_dim: int, *, validation: bool = True, num_workers: int = 3) -> tuple[Reduced, Run]:
    run = Run.open(folder, "r", task_name="t")
    shards = {}
    for split, count, seed in (("train", N, 0), ("validation", N_VAL, 1))[: 1 + validation]:
        whole = _arrays(count, proj_dim, seed)
        shards[split] = tuple(
            run.storage.write_arrays(
                f"probe/{split}-{start}.arrow",
                {name: array[start : start + BLOCK] for name, array in whole.items()},
                made_from=split,
            )
            for start in range(0, count, BLOCK)
        )
    files = Files(Session(started_here=False, is_client=False), run.storage, clerk())
    probed = Probed(facts=FACTS, weights="w", shards=shards, computed=0)  # type: ignore[arg-type]
    settings = ProbeSettings(proj_dim=proj_dim, block_size=BLOCK)
    reduced = reduce(
        probed,
        CrossEntropy(),
        settings=settings,
        num_samples=N,
        num_workers=num_workers,
        run=run,
        files=files,
        phase=Phase("reduce", "", None),
    )
    return reduced, run


# NC = 63: below R the Gram matrix is reduced, above it the R × R sum.
@pytest.mark.parametrize("proj_dim", [100, 63, 62, 20])
def test_inner_products_survive(tmp_path: Path, proj_dim: int) -> None:
    reduced, run = _reduce(tmp_path, proj_dim)
    assert reduced.validation is not None
    train, validation = run.storage.read_arrays(reduced.train), run.storage.read_arrays(reduced.validation)
    assert train["jacobian"].dtype == np.float32
    assert train["jacobian"].shape == (N, C, reduced.num_coordinates)
    assert reduced.num_coordinates == min(N * C, proj_dim)
    rows = _arrays(N, proj_dim, 0)["rows"].reshape(-1, proj_dim).astype(np.float64)
    others = _arrays(N_VAL, proj_dim, 1)["rows"].reshape(-1, proj_dim).astype(np.float64)
    coordinates = train["jacobian"].reshape(N * C, -1).astype(np.float64)
    other_coordinates = validation["jacobian"].reshape(N_VAL * C, -1).astype(np.float64)
    # Coordinates are rounded to float32: 6e-8 relative to rows of squared length about R, some R terms.
    tolerance = 1e-6 * proj_dim
    np.testing.assert_allclose(coordinates @ coordinates.T, rows @ rows.T, atol=tolerance)
    np.testing.assert_allclose(other_coordinates @ coordinates.T, others @ rows.T, atol=tolerance)
    for name in ("index", "outputs", "radial", "targets"):
        np.testing.assert_array_equal(train[name], _arrays(N, proj_dim, 0)[name])
        np.testing.assert_array_equal(validation[name], _arrays(N_VAL, proj_dim, 1)[name])


@pytest.mark.parametrize("proj_dim", [100, 20])
def test_spectrum_and_statistics_are_those_of_the_kernel_in_one_piece(tmp_path: Path, proj_dim: int) -> None:
    reduced, _ = _reduce(tmp_path, proj_dim, validation=False)
    arrays = _arrays(N, proj_dim, 0)
    rows = arrays["rows"].astype(np.float64)
    samples = Samples(
        outputs=torch.tensor(arrays["outputs"]).double(),
        jacobian=torch.tensor(rows),
        radial=torch.tensor(arrays["radial"]).double(),
        targets=torch.tensor(arrays["targets"]),
    )
    residual = CrossEntropy().residual(samples.outputs, samples.targets).numpy()
    flat = rows.reshape(N * C, -1)
    expected = spectrum_from_gram(flat @ flat.T, residual)
    np.testing.assert_allclose(reduced.spectrum.eigenvalues, expected.eigenvalues, rtol=1e-9)
    np.testing.assert_allclose(reduced.spectrum.projections, expected.projections, rtol=1e-6, atol=1e-12)
    assert reduced.spectrum.remainder == pytest.approx(expected.remainder, abs=1e-9)
    statistics = statistics_of(samples, CrossEntropy())
    for name, value in vars(statistics).items():
        # Lanczos stops at 1e-6.
        assert getattr(reduced.statistics, name) == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("proj_dim", [100, 20])
def test_any_number_of_tasks_at_a_time_gives_the_same_bits(
    tmp_path: Path, proj_dim: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several groups even here.
    monkeypatch.setattr("raytt.cluster.stages.reduce.GROUP_ROWS", 2 * BLOCK * C)
    hashes = set()
    for workers in (1, 2, 3):
        reduced, run = _reduce(tmp_path / str(workers), proj_dim, num_workers=workers)
        hashes.add((reduced.train.sha256, run.files["tangent/validation.arrow"].sha256, str(reduced.statistics)))
    assert len(hashes) == 1


def test_a_second_time_it_is_read_back_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = _reduce(tmp_path, 20)
    monkeypatch.setattr("raytt.cluster.stages.reduce._FINISH", None)
    second, _ = _reduce(tmp_path, 20)
    assert (second.train, second.validation, second.statistics) == (first.train, first.validation, first.statistics)
    np.testing.assert_array_equal(second.spectrum.eigenvalues, first.spectrum.eigenvalues)
    np.testing.assert_array_equal(second.spectrum.projections, first.spectrum.projections)


def test_a_damaged_tangent_is_made_again(tmp_path: Path) -> None:
    first, run = _reduce(tmp_path, 20)
    run.storage.write_bytes("tangent/train.arrow", b"junk")
    second, _ = _reduce(tmp_path, 20)
    assert second.train == first.train
    assert run.storage.is_intact(second.train)


def test_a_loss_that_is_infinite_at_the_start_is_refused() -> None:
    from raytt.cluster.stages.reducer import finish

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return outputs.sum(dim=1) / 0.0 * targets

    shard = _arrays(2, 5, 0) | {"targets": np.ones(2, dtype=np.int64)}
    rows = shard.pop("rows").reshape(2 * C, 5).astype(np.float64)
    with pytest.raises(InputError, match="mean training loss is"):
        finish(CustomLoss(function=loss), (1, 0), False, shard, rows)


def test_large_results_stay_off_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    get = ray.get

    def watched(refs: object, **options: object) -> object:
        value = get(refs, **options)
        sizes.append(len(ray.cloudpickle.dumps(value)))
        return value

    monkeypatch.setattr(ray, "get", watched)
    _reduce(tmp_path, 100)
    _reduce(tmp_path / "other", 50)
    # One block of rows is 4·3·50·4 = 2,400 bytes at least, one tile 1,152; what comes is spectrum and records.
    assert sizes
    assert max(sizes) < 4_000
