"""The sketch: its law against a scalar transcription, its statistics, and that no grouping changes a bit."""

from __future__ import annotations

import hashlib

import pytest
import torch

from benchmarks.identity_sketch import IdentitySketch
from raytt.errors import InputError
from raytt.probe.sketch import CountSketch, Sketch, project

MASK = (1 << 64) - 1


def splitmix64(key: int, counter: int) -> int:
    """One output of splitmix64, from its authors' reference code in C."""
    z = (key + counter * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def naive_sketch(vector: dict[str, list[float]], proj_dim: int, seed: int) -> list[float]:
    """Coordinate by coordinate, with Python's integers."""
    out = [0.0] * proj_dim
    for name, values in vector.items():
        text = f"block-shift-countsketch-1\0{seed}\0{name}"
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        sign_key, shift_key = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        for j, value in enumerate(values):
            sign = 2 * (splitmix64(sign_key, j // 64 + 1) >> (j % 64) & 1) - 1
            shift = splitmix64(shift_key, j // proj_dim + 1) % proj_dim
            out[(j % proj_dim + shift) % proj_dim] += sign * value
    return out


def rows_of(sketch: Sketch, name: str, rows: torch.Tensor) -> torch.Tensor:
    buffer = torch.zeros(*rows.shape[:-1], sketch.buffer_dim, dtype=rows.dtype)
    sketch.accumulate(buffer, name, 0, rows)
    return sketch.finish(buffer)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_reference_hash_is_splitmix64() -> None:
    # First outputs of the published generator for seed 1234567 (Vigna's test vector).
    assert [splitmix64(1234567, i) for i in (1, 2, 3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@pytest.mark.parametrize("proj_dim", [1, 7, 64, 500])
def test_law_is_the_documented_one(proj_dim: int) -> None:
    # Parameters smaller and bigger than R, and of no size that divides anything.
    vector = {"a.weight": draw(203).tolist(), "a.bias": draw(5, seed=1).tolist(), "b": draw(129, seed=2).tolist()}
    got = project(CountSketch(proj_dim, 3), {k: torch.tensor(v, dtype=torch.float64) for k, v in vector.items()})
    expected = torch.tensor(naive_sketch(vector, proj_dim, 3), dtype=torch.float64)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_inner_products_are_unbiased_with_the_stated_variance() -> None:
    u, v = draw(300), draw(300, seed=1) + 0.5 * draw(300)
    R, seeds = 32, 2000
    found = []
    for seed in range(seeds):
        pair = rows_of(CountSketch(R, seed), "w", torch.stack([u, v]))
        found.append(float(pair[0] @ pair[1]))
    samples = torch.tensor(found, dtype=torch.float64)
    exact = float(u @ v)
    bound = float((u @ u) * (v @ v) + exact**2) / R
    # Mean within 4 standard errors (a correct sketch fails once in 16,000 choices of vectors); the variance of 2,000
    # samples is known to 3 %; blocks without collisions only lower it below the bound (9 of 10 pairs can collide).
    assert abs(float(samples.mean()) - exact) < 4 * float(samples.std()) / seeds**0.5
    assert 0.7 * bound < float(samples.var()) < 1.1 * bound


def test_parameters_are_hashed_apart() -> None:
    # With equal signs and shifts for all parameters, ⟨S(u in a), S(u in b)⟩ would be ‖u‖² and not scatter around 0.
    u, R, seeds = draw(100), 64, 400
    products = []
    for seed in range(seeds):
        sketch = CountSketch(R, seed)
        products.append(float(rows_of(sketch, "a", u) @ rows_of(sketch, "b", u)))
    samples = torch.tensor(products, dtype=torch.float64)
    assert abs(float(samples.mean())) < 4 * float(samples.std()) / seeds**0.5
    assert float(samples.std()) < 2 * float(u @ u) * (2 / R) ** 0.5


def test_seed_matters() -> None:
    u = draw(1000)
    assert not torch.equal(rows_of(CountSketch(64, 0), "w", u), rows_of(CountSketch(64, 1), "w", u))
    assert torch.equal(rows_of(CountSketch(64, 1), "w", u), rows_of(CountSketch(64, 1), "w", u))


@pytest.mark.parametrize("proj_dim", [1000, 1001, 100_000])
def test_one_block_keeps_inner_products_exactly(proj_dim: int) -> None:
    rows = draw(3, 1000)
    sketched = rows_of(CountSketch(proj_dim, 5), "w", rows)
    torch.testing.assert_close(sketched @ sketched.T, rows @ rows.T, rtol=1e-12, atol=1e-12)


def test_neither_row_groups_nor_pieces_change_a_bit() -> None:
    rows = draw(6, 1000).float()
    sketch = CountSketch(96, 0)
    whole = rows_of(sketch, "w", rows)
    alone = torch.stack([rows_of(CountSketch(96, 0), "w", row) for row in rows])
    assert torch.equal(whole, alone)

    pieces = torch.zeros(6, sketch.buffer_dim)
    for first, last in [(0, 1), (1, 95), (95, 400), (400, 1000)]:
        sketch.accumulate(pieces, "w", first, rows[:, first:last])
    assert torch.equal(whole, sketch.finish(pieces))


def test_order_of_requests_does_not_matter() -> None:
    # Signs are generated on demand: a late piece first must not change what the early ones get.
    row = draw(5000)
    late_first = CountSketch(64, 0)
    buffer = torch.zeros(late_first.buffer_dim, dtype=torch.float64)
    late_first.accumulate(buffer, "w", 4000, row[4000:])
    late_first.accumulate(buffer, "w", 0, row[:4000])
    torch.testing.assert_close(late_first.finish(buffer), rows_of(CountSketch(64, 0), "w", row), rtol=0, atol=1e-12)


def test_signs_and_shifts_are_balanced() -> None:
    ones = rows_of(CountSketch(1 << 20, 0), "w", torch.ones(1 << 20, dtype=torch.float64))
    # A sum of 2²⁰ fair signs has standard deviation 2¹⁰.
    assert abs(float(ones.sum())) < 4 * 2**10
    R, blocks = 8, 4000
    code = CountSketch(R, 0)._code("w", R * blocks, torch.device("cpu"))
    counts = torch.bincount(torch.tensor(code.shifts), minlength=R).double()
    chi2 = float(((counts - blocks / R) ** 2 / (blocks / R)).sum())
    assert chi2 < 29.9  # 99.99 % point of χ² with 7 degrees of freedom


def test_identity_concatenates() -> None:
    sketch = IdentitySketch({"a": (2, 3), "b": (), "c": (2,)})
    vector = {"a": draw(2, 3), "b": draw(1, seed=1)[0], "c": draw(2, seed=2)}
    assert sketch.proj_dim == 9
    assert torch.equal(project(sketch, vector), torch.cat([t.reshape(-1) for t in vector.values()]))


def test_projection_dimension_must_be_positive() -> None:
    with pytest.raises(InputError, match="proj_dim is 0, below 1"):
        CountSketch(0, 0)
