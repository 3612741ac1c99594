"""Readers of what others may have written: whatever it is, they give a value or one of raytt's own errors."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ray import tune

import raytt.pricing
from raytt.adapters.tune.search_space import draw
from raytt.cluster.plumbing.hand_over import from_line, to_line
from raytt.errors import InputError, StoreError
from raytt.pricing.catalog import find_offer, load_catalog
from raytt.results.ranking import Ranking
from raytt.store.arrow import from_arrow, to_arrow
from raytt.store.manifest import FORMAT, FileRecord, Manifest, ManifestError, _digest
from raytt.store.run import Run
from raytt.store.storage import Storage
from raytt.task.candidate import Candidate
from raytt.task.load import load_task
from raytt.task.target import Target
from tests.support.fakes import example_ranking

INPUTS = int(os.environ.get("RAYTT_FUZZ_INPUTS", "100"))
"""Tried by each test below; more on request, then from a new seed each time."""

fuzz = settings(
    max_examples=INPUTS,
    deadline=None,
    derandomize=INPUTS <= 100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def mutated(data: bytes) -> st.SearchStrategy[bytes]:
    """Pieces of a real file with bytes exchanged, left out, and put in."""

    def change(edits: list[tuple[int, int, bytes]]) -> bytes:
        changed = data
        for place, length, put in edits:
            place %= len(changed) + 1
            changed = changed[:place] + put + changed[place + length :]
        return changed

    edit = st.tuples(st.integers(0, len(data)), st.integers(0, 40), st.binary(max_size=12))
    return st.lists(edit, min_size=1, max_size=4).map(change)


ARRAYS = {
    "index": np.arange(6),
    "rows": np.arange(36, dtype=np.float32).reshape(6, 2, 3),
    "flags": np.ones(6, dtype=np.int8),
}
ARROW = to_arrow(ARRAYS, {"note": "x"}).to_pybytes()
MANIFEST = Manifest(
    name="r",
    inputs={"probe": {"loss": "x", "samples": 3}},
    files={"a/b.arrow": FileRecord(file="a/b.arrow", sha256="0" * 64, made_from="key")},
    seconds={"probe": 1.5},
)


@fuzz
@given(st.binary(max_size=400) | mutated(MANIFEST.to_bytes()))
def test_manifests(data: bytes) -> None:
    with contextlib.suppress(ManifestError):
        assert Manifest.from_bytes(data) == MANIFEST


@fuzz
@given(
    st.fixed_dictionaries(
        {
            "format": st.just(FORMAT) | scalars,
            "name": scalars,
            "inputs": documents,
            "seconds": documents,
            "files": documents
            | st.lists(st.fixed_dictionaries({"file": scalars, "sha256": scalars, "made_from": scalars}), max_size=3),
        }
    )
)
def test_manifests_with_a_right_checksum(content: dict[str, Any]) -> None:
    data = json.dumps({**content, "sha256": _digest(content)}).encode()
    with contextlib.suppress(ManifestError):
        manifest = Manifest.from_bytes(data)
        for file in manifest.files:
            assert Path("/r", file).resolve().is_relative_to("/r")
        assert all(math.isfinite(seconds) for seconds in manifest.seconds.values())


@fuzz
@given(st.binary(max_size=400) | mutated(ARROW))
def test_arrow_files(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        for array in from_arrow(data).values():
            assert array.dtype.kind in "iuf"
            array.sum()


@fuzz
@given(st.binary(max_size=200) | mutated(json.dumps({"a": [1.5, None]}).encode()))
def test_files_of_a_run_directory(tmp_path: Path, data: bytes) -> None:
    run = Run.open(tmp_path, "r", task_name="t")
    for file in ("x.json", "x.arrow"):
        run.storage.write_bytes(file, data)
        digest = hashlib.sha256(data).hexdigest()
        run.files[file] = FileRecord(file=file, sha256=digest, made_from="key")
    with contextlib.suppress(StoreError):
        run.read_json("x.json", "key")
    with contextlib.suppress(StoreError):
        run.storage.read_arrays(run.files["x.arrow"])


@fuzz
@given(st.text(max_size=40) | st.lists(st.sampled_from(["..", ".", "a", "", "~", "\\", "C:"])).map("/".join))
def test_paths(tmp_path: Path, file: str) -> None:
    storage = Storage(root=str(tmp_path / "inner" / "r"))
    before = set(tmp_path.rglob("*"))
    with contextlib.suppress(StoreError):
        storage.write_bytes(file, b"x")
    assert all(path.is_relative_to(tmp_path / "inner") for path in set(tmp_path.rglob("*")) - before)


@fuzz
@given(st.text(max_size=40) | st.lists(st.sampled_from(["..", ".", "a", "", "~", "-", "_"])).map("/".join))
def test_names(tmp_path: Path, name: str) -> None:
    with contextlib.suppress(InputError, StoreError):
        run = Run.open(tmp_path / "inner", name, task_name="t")
        assert Path(run.storage.root).parent == (tmp_path / "inner").resolve()


KNOWN = ("optimizer", "lr", "momentum", "nesterov", "weight_decay", "batch_size", "schedule", "warmup_steps", "gamma")
VALUES = (
    scalars
    | st.sampled_from(["sgd", "adamw", "cosine", "step", 0.1, 0.9, 32, 1e308, -0.0])
    | st.just(tune.uniform(0, 1))
)


@fuzz
@given(st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=6), VALUES, max_size=6))
def test_configurations(config: dict[str, Any]) -> None:
    with contextlib.suppress(InputError):
        candidate = Candidate.from_config(config)
        assert candidate.lr > 0.0
        assert Candidate.from_config(candidate.config()) == candidate


@fuzz
@given(
    st.dictionaries(
        st.sampled_from(KNOWN) | st.text(max_size=6),
        VALUES
        | st.lists(VALUES, max_size=3)
        | st.lists(VALUES, max_size=3).map(tune.choice)
        | st.lists(VALUES, max_size=3).map(tune.grid_search)
        | st.dictionaries(st.sampled_from(KNOWN), VALUES, max_size=3),
        max_size=4,
    )
    | documents
)
def test_search_spaces(space: Any) -> None:
    with contextlib.suppress(InputError):
        drawn = draw(space, num_candidates=3, seed=0)
        assert len(drawn.candidates) == len(drawn.configs) > 0


@fuzz
@given(
    st.text(max_size=20)
    | st.sampled_from(["loss", "accuracy", "plateau"]).flatmap(lambda k: st.text(max_size=8).map(lambda t: f"{k}={t}"))
)
def test_targets(text: str) -> None:
    with contextlib.suppress(InputError):
        target = Target.parse(text)
        assert Target.parse(str(target)) == target


@fuzz
@given(
    st.text(alphabet=st.characters(exclude_characters="\x00"), max_size=20)
    | st.lists(st.sampled_from(["..", "a", ".py", "::", "/", "json", "."])).map("".join)
)
def test_names_of_tasks(tmp_path: Path, spec: str) -> None:
    with contextlib.suppress(InputError), contextlib.chdir(tmp_path), pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.path", [str(tmp_path)])
        load_task(spec)


@fuzz
@given(
    st.binary(max_size=200)
    | mutated(json.dumps(example_ranking().to_json()).encode())
    | documents.map(lambda d: json.dumps(d).encode())
)
def test_rankings(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "r.json").write_bytes(data)
    with contextlib.suppress(StoreError):
        assert isinstance(Ranking.load(tmp_path / "r.json"), Ranking)


@fuzz
@given(st.text(max_size=60) | mutated(to_line(b'{"a": 1}').encode()).map(lambda line: line.decode(errors="replace")))
def test_handed_over_lines(line: str) -> None:
    with contextlib.suppress(StoreError):
        assert from_line(line) == {"a": 1}


CATALOG = (Path(raytt.pricing.__file__).parent / "catalog.csv").read_bytes()
COLUMNS = CATALOG.decode().splitlines()[0].split(",")
cells = (
    st.text(max_size=10) | st.floats().map(str) | st.integers().map(str) | st.sampled_from(["2026-09-06", "aws", "1"])
)


def _table(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([COLUMNS, *rows])
    return text.getvalue().encode("utf-8", "surrogatepass")


@fuzz
@given(
    st.binary(max_size=400)
    | mutated(CATALOG[:600])
    | st.lists(st.lists(cells, min_size=len(COLUMNS), max_size=len(COLUMNS)), max_size=3).map(_table),
    st.text(max_size=20) | st.sampled_from(["aws:g6.xlarge", "aws:g5.xlarge:spot"]),
)
def test_catalogs(tmp_path: Path, data: bytes, spec: str) -> None:
    file = tmp_path / "catalog.csv"
    file.write_bytes(data)
    with contextlib.suppress(InputError):
        catalog = load_catalog(file)
        for row in catalog:
            prices = [p for p in (row.price, row.spot_low, row.spot_high) if p is not None]
            assert prices
            assert all(math.isfinite(p) and p >= 0.0 for p in prices)
        offer = find_offer(catalog, spec)
        assert 0.0 <= (offer.usd_per_hour_low or 0.0) <= offer.usd_per_hour
