"""``raytt submit`` and ``raytt fetch``: rankings as jobs on a cluster, their results brought back."""

from __future__ import annotations

import os
import re
import shlex
import uuid
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raytt.errors import InputError

if TYPE_CHECKING:
    from raytt.cluster.plumbing.jobs import Job
    from raytt.results.ranking import Ranking

EXIT_INTERRUPTED = 130

_RESULT = "raytt-ranking.json"
_CLUSTER_RUNS = "~/raytt-runs"
_EXAMPLE = """
[bold]Example[/bold]

raytt submit my_task.py --address http://127.0.0.1:8265 --follow --candidates 200 --storage-path s3://bucket/raytt
"""
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

Address = Annotated[str, typer.Option(help="The cluster's dashboard: http://HEAD:8265.", show_default=False)]
Follow = Annotated[bool, typer.Option("--follow", help="Show the job's log and wait for its ranking.")]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the ranking here. Default: JOB.json.", show_default=False),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog=_EXAMPLE, context_settings=_PASS_ON)(submit)
    app.command()(fetch)


def submit(
    context: typer.Context,
    task: Annotated[str, typer.Argument(metavar="TASK", help="As for `raytt rank`.", show_default=False)],
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
) -> None:
    """Rank as a job on a cluster: all options of `raytt rank` may be given as well."""
    job = plan(
        task,
        context.args,
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
    rank_options: Sequence[str],
    *,
    working_dir: Path | None = None,
    env: Sequence[str] = (),
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    memory: int | None = None,
) -> Job:
    """The job that ranks a task.

    Raises:
        InputError: If the task is not within the working directory, or an option makes no sense on a cluster.
        UsageError (typer's): If `raytt rank` would not take the options.
    """
    from raytt.cluster.plumbing.jobs import Job

    if task.startswith("-"):
        raise InputError(f"TASK is {task!r}.", "Give the task before the options of `raytt rank`.")
    context = _rank_context([task, *rank_options])
    given = context.params
    if given["json_file"] is not None or given["address"] is not None:
        raise InputError("--json and --address are those of the submission.", "Give each once, for this machine.")
    options = list(rank_options)
    name = given["name"] or f"{_stem(task)}-{datetime.now():%Y%m%d-%H%M%S}"
    if given["name"] is None:
        options += ["--name", name]
    storage = given["storage_path"]
    source = context.get_parameter_source("storage_path")
    if source is not None and source.name == "DEFAULT":
        options += ["--storage-path", _CLUSTER_RUNS]
    elif "://" not in storage and not storage.startswith(("/", "~")):
        raise InputError(
            f"--storage-path {storage} would lie in the job's temporary directory.",
            "Give a URI (s3://…, gs://…), or an absolute path on the cluster.",
        )
    folder, inside = _working_dir(task, working_dir)
    rank = shlex.join(["python", "-m", "raytt", "rank", inside, *options, "--json", _RESULT])
    return Job(
        job_id=f"raytt-{name}-{uuid.uuid4().hex[:6]}",
        entrypoint=f"{rank} && python -m raytt.cluster.plumbing.hand_over {_RESULT}",
        working_dir=folder,
        env_vars=_environment(env),
        metadata={"raytt": version("raytt"), "run": name},
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        memory=memory,
    )


def _rank_context(arguments: list[str]) -> typer.Context:
    """What `raytt rank` makes of its arguments: mistakes show here, not minutes later in a job's log."""
    from raytt.cli.main import app

    command = typer.main.get_command(app).commands["rank"]  # type: ignore[attr-defined]
    context: typer.Context = command.make_context("rank", arguments)
    return context


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
