"""Run directories on an object store: a real S3 API, served on loopback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from raytt.errors import StoreError
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


def test_arrays_and_manifest_come_back_in_another_process(uri: str) -> None:
    arrays = {"rows": np.arange(24, dtype=np.float32).reshape(2, 3, 4)}
    with Run.open(uri, "r", task_name="t").locked() as run:
        run.check_inputs("probe", {"a": 1})
        run.record(run.storage.write_arrays("probe/x.arrow", arrays, made_from="key"))
    code = (
        "import sys; from raytt.store.run import Run; run = Run.open(sys.argv[1], 'r', task_name='t')\n"
        "record = run.recorded('probe/x.arrow', 'key')\n"
        "print(run.storage.read_arrays(record)['rows'].sum(), run.inputs)"
    )
    done = subprocess.run([sys.executable, "-c", code, uri], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "276.0 {'probe': {'a': 1}}\n"


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

    storage = Storage(root=uri)
    storage.write_bytes("x", b"1")
    assert pickle.loads(pickle.dumps(storage)).read_bytes("x") == b"1"
