"""Run directories on an object store: a real S3 API, served on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from raytt.errors import StoreError
from raytt.store import storage
from raytt.store.run import Run, Storage

KEYS = {"AWS_ACCESS_KEY_ID": "KEYID", "AWS_SECRET_ACCESS_KEY": "SECRET", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Where a server with the bucket "runs" listens."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1")
        client.create_bucket(Bucket="runs")
        client.close()
        yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def uri(endpoint: str, request: pytest.FixtureRequest) -> str:
    """A storage path of the test's own."""
    return f"s3://runs/{request.node.name}?scheme=http&endpoint_override={endpoint}&region=us-east-1"


def test_arrays_and_manifest_come_back(uri: str) -> None:
    arrays = {"rows": np.arange(24, dtype=np.float32).reshape(2, 3, 4)}
    with Run.open(uri, "r", task_name="t").locked() as run:
        run.check_inputs("probe", {"a": 1})
        run.record(run.storage.write_arrays("probe/x.arrow", arrays, made_from="key"))
    # Nothing of the first run is kept but what the server has.
    storage._filesystem.cache_clear()
    again = Run.open(uri, "r", task_name="t")
    assert again.inputs == {"probe": {"a": 1}}
    record = again.recorded("probe/x.arrow", "key")
    assert record is not None
    np.testing.assert_array_equal(again.storage.read_arrays(record)["rows"], arrays["rows"])


def test_damage_is_noticed(uri: str) -> None:
    run = Run.open(uri, "r", task_name="t")
    assert not run.storage.is_local
    record = run.storage.write_arrays("x.arrow", {"x": np.arange(3)}, made_from="")
    assert run.storage.is_intact(record)
    run.storage.write_bytes("x.arrow", run.storage.read_bytes("x.arrow")[:-8])
    assert not run.storage.is_intact(record)
    with pytest.raises(StoreError, match="is damaged"):
        run.storage.read_arrays(record)
    run.storage.delete("x.arrow")
    assert not run.storage.is_intact(record)


def test_a_second_driver_is_refused(uri: str) -> None:
    with Run.open(uri, "r", task_name="t").locked() as run:
        other = Run.open(uri, "r", task_name="t")
        with pytest.raises(StoreError, match="in use by process"), other.locked():
            pass
        assert len(run.storage.times("locks")) == 1
    assert run.storage.times("locks") == {}
    with other.locked():
        pass


def test_errors_show_no_keys(endpoint: str) -> None:
    uri = f"s3://MYKEY:MYSECRET@nowhere/runs?scheme=http&endpoint_override={endpoint}&region=us-east-1"
    with pytest.raises(StoreError, match=r"Cannot write .* in s3://nowhere/runs/r: ") as caught:
        Run.open(uri, "r", task_name="t")
    assert "MYKEY" not in str(caught.value)
    assert "MYSECRET" not in str(caught.value)


def test_a_storage_travels(uri: str, tmp_path: Path) -> None:
    import pickle

    sent = Storage(root=uri)
    sent.write_bytes("x", b"1")
    assert pickle.loads(pickle.dumps(sent)).read_bytes("x") == b"1"
