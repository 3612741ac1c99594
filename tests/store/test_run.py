from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.ipc
import pytest

from raytt.errors import InputError, StoreError
from raytt.store.run import FileRecord, Run, Storage, check_name
from raytt.store.storage import below


def _arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "index": np.arange(5),
        "rows": rng.normal(size=(5, 3, 7)).astype(np.float32),
        "double": rng.normal(size=(5, 2)),
        "flags": np.array([1, 0, 1, 1, 0], dtype=np.int32),
    }


def test_arrays_come_back_bit_for_bit_with_shape_and_dtype(tmp_path: Path) -> None:
    storage = Storage(root=str(tmp_path))
    arrays = _arrays()
    record = storage.write_arrays("deep/er/file.arrow", arrays, made_from="x")
    back = storage.read_arrays(record)
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        np.testing.assert_array_equal(back[name], array)


def test_infinities_survive(tmp_path: Path) -> None:
    storage = Storage(root=str(tmp_path))
    record = storage.write_arrays("f.arrow", {"x": np.array([np.inf, -np.inf, 0.0])}, made_from="")
    assert storage.read_arrays(record)["x"].tolist() == [np.inf, -np.inf, 0.0]


def test_a_file_is_plain_arrow(tmp_path: Path) -> None:
    record = Storage(root=str(tmp_path)).write_arrays("f.arrow", _arrays(), made_from="", notes={"candidates": "[]"})
    table = pyarrow.ipc.open_file(tmp_path / record.file).read_all()
    assert table.num_rows == 5
    assert str(table.schema.field("rows").type) == ("fixed_size_list<item: fixed_size_list<item: float>[7]>[3]")
    assert table.schema.metadata == {b"candidates": b"[]"}


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    storage = Storage(root=str(tmp_path))
    assert (
        storage.write_arrays("a.arrow", _arrays(), made_from="").sha256
        == storage.write_arrays("b.arrow", _arrays(), made_from="").sha256
    )


def test_no_partial_file_stays(tmp_path: Path) -> None:
    storage = Storage(root=str(tmp_path))
    storage.write_bytes("a/b.json", b"1")
    storage.write_bytes("a/b.json", b"2")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["b.json"]
    assert storage.read_bytes("a/b.json") == b"2"


def test_damage_is_noticed(tmp_path: Path) -> None:
    storage = Storage(root=str(tmp_path))
    record = storage.write_arrays("f.arrow", _arrays(), made_from="")
    assert storage.is_intact(record)
    data = bytearray((tmp_path / "f.arrow").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "f.arrow").write_bytes(data)
    assert not storage.is_intact(record)
    with pytest.raises(StoreError, match=r"f\.arrow .* is damaged"):
        storage.read_arrays(record)
    (tmp_path / "f.arrow").unlink()
    assert not storage.is_intact(record)
    with pytest.raises(StoreError, match=r"Cannot read f\.arrow"):
        storage.read_arrays(record)


def test_a_uri_works_like_a_path(tmp_path: Path) -> None:
    run = Run.open(tmp_path.as_uri(), "r", task_name="t")
    assert not run.storage.is_local
    assert Run.open(tmp_path, "r", task_name="t").storage.is_local
    run.check_inputs("probe", {"a": 1})
    assert Run.open(tmp_path, "r", task_name="t").inputs == {"probe": {"a": 1}}


def test_a_relative_path_and_a_given_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Run.open("runs", "mine", task_name="t").check_inputs("probe", {})
    assert (tmp_path / "runs" / "mine" / "manifest.json").is_file()


def test_default_names_start_with_the_task_and_differ(tmp_path: Path) -> None:
    names = {Run.open(tmp_path, None, task_name="digits").name for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("digits-") for name in names)


def test_reopening_finds_what_was_recorded(tmp_path: Path) -> None:
    run = Run.open(tmp_path, "r", task_name="t")
    record = run.storage.write_arrays("f.arrow", _arrays(), made_from="key")
    run.record(record)
    run.write_json("result.json", {"steps": None, "µ": 1.5}, made_from="key")
    run.spend({"probe": 1.25})
    again = Run.open(tmp_path, "r", task_name="t")
    assert again.recorded("f.arrow", "key") == record
    assert again.seconds == {"probe": 1.25}
    assert again.recorded("f.arrow", "other") is None
    assert again.recorded("g.arrow", "key") is None
    assert again.read_json("result.json", "key") == {"steps": None, "µ": 1.5}
    assert again.read_json("result.json", "other") is None


def test_nan_never_enters_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Run.open(tmp_path, "r", task_name="t").write_json("r.json", {"x": float("nan")}, made_from="")


def test_changed_inputs_are_refused_with_old_and_new_values(tmp_path: Path) -> None:
    run = Run.open(tmp_path, "r", task_name="t")
    run.check_inputs("probe", {"proj_dim": 64, "weights": "aa", "gone": True})
    again = Run.open(tmp_path, "r", task_name="t")
    again.check_inputs("probe", {"proj_dim": 64, "weights": "aa", "gone": True})
    again.check_inputs("validation", {"samples": 3})
    with pytest.raises(StoreError) as caught:
        again.check_inputs("probe", {"proj_dim": 128, "weights": "aa", "new": 1})
    lines = str(caught.value).splitlines()
    assert lines[1:-1] == ["  gone: true → null", "  new: null → 1", "  proj_dim: 64 → 128"]
    assert "--name" in lines[-1]
    assert json.loads((tmp_path / "r" / "manifest.json").read_text())["inputs"]["probe"]["proj_dim"] == 64


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "/etc", ".hidden", "a b", "ä", "x" * 129, "a\n"]
)
def test_names_that_could_leave_the_directory_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="run name"):
        Run.open(tmp_path, name, task_name="t")
    assert list(tmp_path.iterdir()) == []


def test_good_names() -> None:
    for name in ("digits-20261123", "a.b_c-1", "x" * 128):
        assert check_name(name, "name") == name


def test_an_unwritable_path_fails_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"Cannot write .* in .*file/runs/r"):
        Run.open(tmp_path / "file" / "runs", "r", task_name="t")


def test_an_unknown_scheme_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nonsense"):
        Run.open("nonsense://bucket/x", "r", task_name="t")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"format": 3}', '{"format": 3, "inputs": {}, "seconds": {}, "files": [{"a": 1}]}', "[" * 100_000],
)
def test_an_unreadable_manifest_is_reported(tmp_path: Path, text: str) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "manifest.json").write_text(text)
    with pytest.raises(StoreError, match=r"manifest\.json .* cannot be read"):
        Run.open(tmp_path, "r", task_name="t")


def test_another_layout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "manifest.json").write_text('{"format": 99, "inputs": {}, "files": []}')
    with pytest.raises(StoreError, match="layout 99"):
        Run.open(tmp_path, "r", task_name="t")


def test_nothing_is_pickled(tmp_path: Path) -> None:
    run = Run.open(tmp_path, "r", task_name="t")
    run.record(run.storage.write_arrays("f.arrow", _arrays(), made_from=""))
    assert not any(path.read_bytes().startswith(b"\x80") for path in tmp_path.rglob("*") if path.is_file())


def test_records_are_plain() -> None:
    record = FileRecord(file="a", sha256="b", made_from="c")
    assert FileRecord(**vars(record)) == record


def test_a_tampered_file_is_refused_even_with_a_right_checksum(tmp_path: Path) -> None:
    storage = Storage(root=str(tmp_path))
    for data in (b"", b"ARROW1", pickle.dumps({"rows": 1})):
        storage.write_bytes("f.arrow", data)
        record = FileRecord(file="f.arrow", sha256=hashlib.sha256(data).hexdigest(), made_from="")
        with pytest.raises(StoreError, match=r"f\.arrow .* is damaged: not arrays"):
            storage.read_arrays(record)


def test_only_numbers_are_read(tmp_path: Path) -> None:
    storage = Storage(root=str(tmp_path))
    for column in (pyarrow.array(["a"]), pyarrow.array([[1], [2, 3]]), pyarrow.array([1, None]), pyarrow.array([None])):
        table = pyarrow.table({"x": column})
        sink = pyarrow.BufferOutputStream()
        with pyarrow.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        data = sink.getvalue().to_pybytes()
        storage.write_bytes("f.arrow", data)
        record = FileRecord(file="f.arrow", sha256=hashlib.sha256(data).hexdigest(), made_from="")
        with pytest.raises(StoreError, match="is damaged"):
            storage.read_arrays(record)


@pytest.mark.parametrize("file", ["../x", "/etc/x", "a/../../x", ".hidden", "a\\..\\x"])
def test_no_path_leads_out_of_the_run_directory(tmp_path: Path, file: str) -> None:
    storage = Storage(root=str(tmp_path / "r"))
    record = FileRecord(file=file, sha256="0" * 64, made_from="")
    for action in (
        lambda: storage.write_bytes(file, b"x"),
        lambda: storage.read_bytes(file),
        lambda: storage.exists(file),
        lambda: storage.delete(file),
        lambda: storage.times(file),
        lambda: storage.read_arrays(record),
    ):
        with pytest.raises(StoreError, match="is not a path below"):
            action()
    assert list(tmp_path.iterdir()) == []


def test_times_of_a_folder(tmp_path: Path) -> None:
    storage = Storage(root=str(tmp_path))
    assert storage.times("locks") == {}
    storage.write_bytes("locks/a.json", b"")
    storage.write_bytes("locks/deep/b.json", b"")
    (found,) = storage.times("locks").items()
    assert found == ("locks/a.json", (tmp_path / "locks" / "a.json").stat().st_mtime_ns / 1e9)


def test_keys_in_a_uri_are_not_shown() -> None:
    root = "s3://KEYID:SECRET@bucket/runs/r?endpoint_override=127.0.0.1:1&scheme=http&region=x"
    assert Storage(root=root).shown == "s3://bucket/runs/r"
    assert Storage(root="/a/b").shown == "/a/b"
    assert Storage(root="file:///a/b").shown == "file:///a/b"


def test_a_name_goes_before_the_query_of_a_uri(tmp_path: Path) -> None:
    assert below("s3://bucket/runs/?region=x", "r") == "s3://bucket/runs/r?region=x"
    assert below("s3://bucket", "r") == "s3://bucket/r"
    assert below(str(tmp_path), "r") == f"{tmp_path}/r"


def test_a_damaged_json_file_is_not_used(tmp_path: Path) -> None:
    run = Run.open(tmp_path, "r", task_name="t")
    run.write_json("x.json", {"a": 1}, made_from="key")
    (tmp_path / "r" / "x.json").write_bytes(b'{"a": 2}')
    assert run.read_json("x.json", "key") is None
    (tmp_path / "r" / "x.json").unlink()
    assert run.read_json("x.json", "key") is None
