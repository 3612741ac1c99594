"""``raytt submit`` and ``raytt fetch``: rankings as jobs on a cluster, their results brought back."""

from __future__ import annotations

import os
import re
import shlex
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytt.cli import options
from raytt.cli.money import MoneyOptions
from raytt.errors import InputError
from raytt.settings.cluster import ClusterSettings
from raytt.settings.declaration import Settings
from raytt.settings.estimator import EstimatorSettings
from raytt.settings.ranking import RankingSettings
from raytt.settings.run import RunSettings

if TYPE_CHECKING:
    from raytt.cluster.plumbing.jobs import Job
    from raytt.results.ranking import Ranking

EXIT_INTERRUPTED = 130

_RESULT = "raytt-ranking.json"
_CLUSTER_RUNS = "~/raytt-runs"
EXAMPLES = """
[bold]Example[/bold]

raytt submit my_task.py --address http://127.0.0.1:8265 --follow --candidates 200 --storage-path s3://bucket/raytt
"""

Address = Annotated[
    str,
    typer.Option(
        help="The cluster's dashboard: http://HEAD:8265.",
        # The variables that `ray job submit` takes it from, in its order.
        envvar=["RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"],
        show_default=False,
    ),
]
Follow = Annotated[bool, typer.Option("--follow", help="Show the job's log and wait for its ranking.")]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the ranking here. Default: JOB.json.", show_default=False),
]


@options.expanded
def submit(
    *,
    task: options.TaskPlace,
    address: Address,
    follow: Follow = False,
    working_dir: Annotated[
        Path | None,
        typer.Option(help="Directory that is uploaded. Default: that of the task file.", show_default=False),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY[=VALUE]",
            help="Environment of the job; KEY alone takes its value from here, so that a secret is not typed.",
            show_default=False,
        ),
    ] = None,
    entrypoint_num_cpus: Annotated[
        float | None, typer.Option(min=0.0, help="CPUs reserved for the driver.", show_default=False)
    ] = None,
    entrypoint_num_gpus: Annotated[
        float | None, typer.Option(min=0.0, help="GPUs reserved for the driver.", show_default=False)
    ] = None,
    entrypoint_memory: Annotated[
        int | None, typer.Option(min=0, help="Memory reserved for the driver, bytes.", show_default=False)
    ] = None,
    json_file: JsonFile = None,
    target: options.TargetText = None,
    ranking: RankingSettings,
    estimator: EstimatorSettings,
    cluster: Annotated[ClusterSettings, options.Pick(without=("address",))],
    run: Annotated[RunSettings, options.Pick(defaults={"storage_path": _CLUSTER_RUNS})],
    money: MoneyOptions,
) -> None:
    """Rank as a job on a cluster, with the options of `raytt rank`."""
    if money.catalog is None:
        # A catalog is read where the job runs.
        money.terms()
    job = plan(
        task,
        run=run,
        others=(ranking, estimator, cluster, money),
        target=target,
        working_dir=working_dir,
        env=env or [],
        num_cpus=entrypoint_num_cpus,
        num_gpus=entrypoint_num_gpus,
        memory=entrypoint_memory,
    )
    from raytt.cluster.plumbing.jobs import JobServer

    server = JobServer(address, secrets=job.env_vars)
    server.submit(job)
    again = shlex.join(["raytt", "fetch", job.job_id, "--address", address])
    typer.echo(f"Submitted {job.job_id}. Its ranking, now or later:\n\n  {again} --follow\n", err=True)
    if follow:
        _show(server, job.job_id, json_file, follow=True, again=again)


def fetch(
    job: Annotated[str, typer.Argument(metavar="JOB", help="As `raytt submit` printed it.", show_default=False)],
    address: Address,
    follow: Follow = False,
    json_file: JsonFile = None,
) -> None:
    """Bring the ranking of a submitted job to this machine."""
    from raytt.cluster.plumbing.jobs import JobServer

    again = shlex.join(["raytt", "fetch", job, "--address", address])
    _show(JobServer(address), job, json_file, follow=follow, again=again)


def plan(
    task: str,
    *,
    run: RunSettings,
    others: Sequence[Settings] = (),
    target: str | None = None,
    working_dir: Path | None = None,
    env: Sequence[str] = (),
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    memory: int | None = None,
) -> Job:
    """The job that ranks a task.

    Args:
        task: As on the command line.
        run: Where the run is kept on the cluster; one without a name gets one.
        others: The other settings of `raytt rank`.
        target: When training is done, as on the command line.
        working_dir: Directory to upload; None: that of the task file.
        env: Environment of the job, KEY=VALUE, or KEY with the value it has here.
        num_cpus: CPUs reserved for the driver.
        num_gpus: GPUs reserved for the driver.
        memory: Memory reserved for the driver, bytes.

    Raises:
        InputError: If the task is not within the working directory, or an option makes no sense on a cluster.
    """
    from raytt.cluster.plumbing.jobs import Job
    from raytt.task.target import Target

    if target is not None:
        Target.parse(target)
    storage = str(run.storage_path)
    if "://" not in storage and not storage.startswith(("/", "~")):
        raise InputError(
            f"--storage-path {storage} would lie in the job's temporary directory.",
            "Give a URI (s3://…, gs://…), or an absolute path on the cluster.",
        )
    named = run if run.name else replace(run, name=f"{_stem(task)}-{datetime.now():%Y%m%d-%H%M%S}")
    folder, inside = _working_dir(task, working_dir)
    arguments = [*([] if target is None else ["--target", target]), *options.arguments_of(*others, named)]
    rank = shlex.join(["python", "-m", "raytt", "rank", inside, *arguments, "--json", _RESULT])
    return Job(
        job_id=f"raytt-{named.name}-{uuid.uuid4().hex[:6]}",
        entrypoint=f"{rank} && python -m raytt.cluster.plumbing.hand_over {_RESULT}",
        working_dir=folder,
        env_vars=_environment(env),
        metadata={"raytt": version("raytt"), "run": str(named.name)},
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        memory=memory,
    )


def _working_dir(task: str, given: Path | None) -> tuple[str | None, str]:
    """The directory to upload, and the task as it is called from there."""
    place, mark, attribute = task.partition("::")
    path = Path(place)
    if path.suffix != ".py" and os.sep not in place and not path.is_file():
        # A module: from the working directory, or installed on the cluster.
        base = given or Path.cwd()
        first = base / place.partition(".")[0]
        here = first.is_dir() or first.with_suffix(".py").is_file()
        return (str(base.resolve()) if here or given else None), task
    if not path.is_file():
        raise InputError(f"There is no file {path}.", f"Give one that exists; the working directory is {Path.cwd()}.")
    folder = (given or path.parent).resolve()
    try:
        inside = path.resolve().relative_to(folder)
    except ValueError:
        raise InputError(
            f"{path} does not lie within --working-dir {folder}.", "Give a directory that holds the task."
        ) from None
    return str(folder), f"{inside.as_posix()}{mark}{attribute}"


def _stem(task: str) -> str:
    """A run's name from a task that is not imported here, as this machine may lack what it needs."""
    place = task.partition("::")[0]
    stem = Path(place).stem if place.endswith(".py") else place.rpartition(".")[2]
    return re.sub(r"[^A-Za-z0-9_-]", "-", stem).strip("-")[:60] or "task"


def _environment(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for entry in given:
        key, equals, value = entry.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            # The entry may hold a secret, and is not repeated.
            raise InputError("--env has something else than KEY or KEY=VALUE.", "Begin with the variable's name.")
        if not equals and key not in os.environ:
            raise InputError(f"--env {key}: there is no such variable here.", f"Set it first, or give {key}=VALUE.")
        found[key] = value if equals else os.environ[key]
    return found


def _show(server: Any, job_id: str, json_file: Path | None, *, follow: bool, again: str) -> None:
    """Wait if wanted, then print the ranking and write it down."""
    from rich.console import Console

    try:
        ranking: Ranking = (
            server.follow(job_id, lambda line: typer.echo(line, err=True)) if follow else server.fetch(job_id)
        )
    except KeyboardInterrupt:
        stop = shlex.join(["ray", "job", "stop", "--address", server.address, job_id])
        typer.echo(f"\nThe job goes on. To see it again:\n\n  {again} --follow\n\nTo stop it:\n\n  {stop}\n", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    console = Console()
    if console.is_terminal:
        console.print(ranking)
    else:
        typer.echo(str(ranking))
    target = json_file or Path(f"{re.sub(r'[^A-Za-z0-9._-]', '-', job_id)}.json")
    ranking.save(target)
    typer.echo(f"Written to {target}.", err=True)
