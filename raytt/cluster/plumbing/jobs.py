"""Rankings as jobs on a Ray cluster: submitted, followed and fetched through its job server."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from raytt.cluster.plumbing.hand_over import MARK, from_line
from raytt.errors import InputError, ResourceError, StoreError, WorkerError
from raytt.results.ranking import Ranking

POLL_SECONDS = 2.0
"""Between looks at a job's log."""
EXCLUDES = (".git", ".venv", "venv", "runs", "__pycache__", "node_modules", ".env", "*.pem", "*.key")
"""What is not uploaded with the working directory: large, of no use on the cluster, or secret."""

_SHORTEST_SECRET = 4
_SETTER = """
import json, os, pathlib
os.environ.update(json.loads((pathlib.Path(__file__).parent / "environment.json").read_text(encoding="utf-8")))
"""
_AGENT_SECONDS = 120.0
"""How long a new cluster may take until one of its nodes takes jobs."""
_LAST_LINES = 30


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is submitted."""

    job_id: str
    """Chosen before, so that it is known whatever happens."""
    entrypoint: str
    """A shell command."""
    working_dir: str | None
    """A directory on this machine that is uploaded; None uploads nothing."""
    env_vars: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment of the job; values may be secret and are never shown."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Shown by the dashboard."""
    num_cpus: float | None = None
    """CPUs reserved for the driver. None: it runs on the head node, reserving none."""
    num_gpus: float | None = None
    """The same of GPUs."""
    memory: int | None = None
    """The same of memory, bytes."""


class JobServer:
    """The job server of a cluster.

    Args:
        address: Of its dashboard: http://host:8265.
        secrets: Values that never appear in what is shown or raised.
        client: Stands for Ray's own client.

    Raises:
        ResourceError: If there is none.
    """

    def __init__(self, address: str, *, secrets: Mapping[str, str] | None = None, client: Any = None) -> None:
        if not re.match(r"https?://[^/]", address):
            raise InputError(
                f"{address!r} is not the address of a job server.",
                "Give (with --address, or in RAY_ADDRESS) that of the cluster's dashboard: http://HEAD:8265 (for "
                "`ray up`: after `ray dashboard`, http://127.0.0.1:8265).",
            )
        self.address = address
        found = {value for value in (secrets or {}).values() if len(value) >= _SHORTEST_SECRET}
        self._secrets = sorted(found, key=len, reverse=True)
        try:
            self._client = client or JobSubmissionClient(address)
        except AuthenticationError:
            raise ResourceError(
                f"The job server at {address} wants a token. Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to what "
                "`ray get-auth-token` prints on the cluster's head."
            ) from None
        except (ConnectionError, RuntimeError) as error:
            raise ResourceError(f"There is no Ray job server at {address}: {self.redact(str(error))}") from None

    def redact(self, text: str) -> str:
        """The text with ``***`` in place of every secret."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def submit(self, job: Job) -> None:
        """Upload the working directory and start a job.

        Raises:
            ResourceError: If the server refuses it.
        """
        environment: dict[str, Any] = {"env_vars": {"RAY_USAGE_STATS_ENABLED": "0"}}
        if job.working_dir is not None:
            environment |= {"working_dir": job.working_dir, "excludes": list(EXCLUDES)}
        try:
            with _packed(job.env_vars) as module:
                self._submit(job, environment | ({"py_modules": [module]} if module else {}))
        except (ConnectionError, RuntimeError, ValueError) as error:
            # Ray's text may repeat the environment; what it was raised from would be shown with it.
            raise ResourceError(
                f"{self.address} did not take the job: {self.redact(str(error)).strip()}. (The working directory may "
                "hold at most 500 MB, less what .gitignore names.)"
            ) from None

    def _submit(self, job: Job, environment: dict[str, Any]) -> None:
        """Start it; a cluster that has only just come up may need a moment until a node takes jobs."""
        deadline = time.monotonic() + _AGENT_SECONDS
        while True:
            try:
                self._client.submit_job(
                    entrypoint=job.entrypoint,
                    submission_id=job.job_id,
                    runtime_env=environment,
                    metadata=dict(job.metadata),
                    entrypoint_num_cpus=job.num_cpus,
                    entrypoint_num_gpus=job.num_gpus,
                    entrypoint_memory=job.memory,
                )
                return
            except RuntimeError as error:
                if "No available agent" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(2.0)

    def follow(self, job_id: str, show: Callable[[str], None]) -> Ranking:
        """Show a job's log line by line until it ends, and give its ranking.

        Raises:
            ResourceError: If the server is gone, or knows no such job.
            WorkerError: If the job failed or was stopped.
            StoreError: If it ended without a ranking that can be read.
        """
        shown = 0
        while True:
            ended = self._status(job_id).is_terminal()
            # Looked at after the status, so that the log of a job that has ended is complete.
            lines = self._log(job_id).split("\n")
            ready = lines if ended else lines[:-1]
            for line in ready[shown:]:
                if not line.startswith(MARK) and line:
                    show(self.redact(line))
            shown = max(shown, len(ready))
            if ended:
                return self._ranking(job_id, lines)
            time.sleep(POLL_SECONDS)

    def fetch(self, job_id: str) -> Ranking:
        """The ranking of a job that has ended.

        Raises:
            ResourceError: If the server is gone, knows no such job, or it has not ended.
            WorkerError: If the job failed or was stopped.
            StoreError: If it ended without a ranking that can be read.
        """
        status = self._status(job_id)
        if not status.is_terminal():
            raise ResourceError(f"Job {job_id} has not ended: it is {status.value.lower()}. Wait, or give --follow.")
        return self._ranking(job_id, self._log(job_id).split("\n"))

    def _ranking(self, job_id: str, lines: list[str]) -> Ranking:
        status = self._status(job_id)
        if status != JobStatus.SUCCEEDED:
            message = self.redact(str(self._client.get_job_info(job_id).message or "")).strip()
            tail = "\n".join(self.redact(line) for line in lines[-_LAST_LINES:] if not line.startswith(MARK)).strip()
            raise WorkerError(f"Job {job_id} {status.value.lower()}. {message}\nThe end of its log:\n{tail}")
        found = [line for line in lines if line.startswith(f"{MARK} ")]
        if not found:
            raise StoreError(f"Job {job_id} left no ranking in its log.")
        try:
            return Ranking.from_json(from_line(found[-1]))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(f"Job {job_id} left something else than a ranking ({error!r}).") from error

    def _status(self, job_id: str) -> JobStatus:
        return self._ask(lambda: self._client.get_job_status(job_id), job_id)

    def _log(self, job_id: str) -> str:
        return str(self._ask(lambda: self._client.get_job_logs(job_id), job_id))

    def _ask(self, question: Callable[[], Any], job_id: str) -> Any:
        try:
            return question()
        except (ConnectionError, RuntimeError) as error:
            raise ResourceError(
                f"{self.address} does not answer for job {job_id}: {self.redact(str(error)).strip()}"
            ) from None


@contextmanager
def _packed(env_vars: Mapping[str, str]) -> Iterator[str | None]:
    """A module that sets an environment when Python starts, for upload; None for an empty one.

    Ray writes ``env_vars`` of a runtime environment into logs on every node. A ``sitecustomize`` among the uploaded
    modules sets them as early, in the driver and in all workers, and appears there as a hash only.
    """
    if not env_vars:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "sitecustomize"
        module.mkdir()
        (module / "__init__.py").write_text(_SETTER, encoding="utf-8")
        (module / "environment.json").write_text(json.dumps(dict(env_vars)), encoding="utf-8")
        yield str(module)
