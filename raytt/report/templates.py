"""Templates of HTML, and the filters that format their numbers."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined

from raytt.report.words import human_seconds, human_steps, human_usd, short


@cache
def environment() -> Environment:
    """Loads templates by their file names under ``raytt/report``."""
    environment = Environment(
        loader=FunctionLoader(asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"seconds": human_seconds, "steps": human_steps, "usd": human_usd, "short": short}
    return environment


@cache
def asset(name: str) -> str:
    """The text of a file under ``raytt/report``."""
    return files("raytt.report").joinpath(name).read_text(encoding="utf-8")
