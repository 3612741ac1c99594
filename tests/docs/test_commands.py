"""Commands in the documentation are commands that exist, with options that they take."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer

from raytt.cli.main import app

from .pages import PAGES, ROOT, commands, inline_code

RAYTT: Any = typer.main.get_command(app)


def _of(program: str) -> list[tuple[str, list[str]]]:
    return [(page, words) for page in PAGES for words in commands(page) if words[0].endswith(program)]


def _parse(words: list[str]) -> None:
    """Parse a command as the command line would, but do not run it."""
    name, *arguments = words
    context = RAYTT.commands[name].make_context(name, list(arguments))
    if context.args:
        # `raytt submit` passes on what it does not know to `raytt rank`; other commands refuse it themselves.
        rank = RAYTT.commands["rank"]
        rank.make_context("rank", [context.params["task"], *context.args])


@pytest.mark.parametrize("page", PAGES)
def test_commands_parse(page: str) -> None:
    for words in (words for found, words in _of("raytt") if found == page):
        try:
            _parse(words[1:])
        except Exception as error:
            pytest.fail(f"{' '.join(words)}: {error}")


def test_a_wrong_option_would_be_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        _parse(["rank", "my_task.py", "--no-such-option"])
    with pytest.raises(Exception, match="No such option"):
        _parse(["submit", "my_task.py", "--address", "http://HEAD:8265", "--no-such-option"])


def test_options_in_sentences_exist() -> None:
    known = {"--install-completion", *_options(RAYTT)}
    for command in RAYTT.commands.values():
        known |= _options(command)
    for page in PAGES:
        for code in inline_code(page):
            if code.startswith(("--", "raytt ")):
                unknown = set(re.findall(r"--[a-z][a-z-]*", code)) - known
                assert not unknown, f"{page}: `{code}` has {unknown}"


def _options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def test_benchmarks_exist_and_take_their_options() -> None:
    found = [words for _, words in _of("python")]
    found += [code.split() for page in PAGES for code in inline_code(page) if code.startswith("python -m benchmarks")]
    assert len(found) > 10
    for words in found:
        if words[1:2] != ["-m"] or not words[2].startswith("benchmarks"):
            continue
        path = ROOT.joinpath(*words[2].split("."))
        file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        source = file.read_text(encoding="utf-8")
        for option in (word for word in words[3:] if word.startswith("--")):
            assert f'"{option}"' in source, f"{' '.join(words)} has no {option}"
