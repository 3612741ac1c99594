from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raytt.errors import InputError
from raytt.task.load import load_task
from raytt.task.target import Target

TASK = """
from raytt.task.task import Task

def build():
    return None

task = Task(mode="eval", name="mine", model=build, data=None)
other = Task(mode="eval", name="other", model=build, data=None)
search_space = [{"lr": 0.1}]
"""


@pytest.fixture(autouse=True)
def _own_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let tests import from their folder, and forget what they imported."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: Path, text: str = TASK) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_task_file(tmp_path: Path) -> None:
    loaded = load_task(write(tmp_path / "my_task.py"))
    assert (loaded.task.name, loaded.search_space, loaded.target) == ("mine", [{"lr": 0.1}], None)


def test_relative_path(tmp_path: Path) -> None:
    write(tmp_path / "my_task.py")
    write(tmp_path / "sub" / "my_task.py", TASK.replace('"mine"', '"below"'))
    assert load_task("my_task.py").task.name == "mine"
    assert load_task("sub/my_task.py").task.name == "below"


def test_name_after_two_colons(tmp_path: Path) -> None:
    assert load_task(write(tmp_path / "my_task.py") + "::other").task.name == "other"


def test_target_of_the_module(tmp_path: Path) -> None:
    loaded = load_task(write(tmp_path / "my_task.py", TASK + "target = 'accuracy=0.9'"))
    assert loaded.target == Target(kind="accuracy", value=0.9)


def test_dotted_module_in_the_working_directory(tmp_path: Path) -> None:
    write(tmp_path / "pack" / "__init__.py", "")
    write(tmp_path / "pack" / "mine.py")
    assert load_task("pack.mine").task.name == "mine"


def test_module_name_is_stable_unique_and_registered(tmp_path: Path) -> None:
    one = load_task(write(tmp_path / "a" / "same.py")).task.model
    two = load_task(write(tmp_path / "b" / "same.py")).task.model
    assert one.__module__ != two.__module__
    assert one.__module__.startswith("raytt_task_same_")
    assert load_task(str(tmp_path / "a" / "same.py")).task.model.__module__ == one.__module__
    # What is registered in sys.modules can be pickled by name on this machine.
    assert pickle.loads(pickle.dumps(two)) is two


def test_neighbours_of_a_task_file_can_be_imported(tmp_path: Path) -> None:
    write(tmp_path / "far" / "neighbour_of_mine.py", "RATE = 0.25")
    path = write(
        tmp_path / "far" / "my_task.py",
        "from neighbour_of_mine import RATE\n" + TASK.replace("0.1", "RATE"),
    )
    assert load_task(path).search_space == [{"lr": 0.25}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            TASK.replace("task = ", "tusk = "),
            "defines no `task`. Define `task` at its top level: an instance of raytt.Task",
        ),
        (TASK.replace("search_space = ", "space = "), "defines no `search_space`"),
        (TASK + "task = 3", "`task` in .* is a int, not a raytt.Task"),
        (TASK + "target = 'soon'", "Cannot read target 'soon'"),
        (
            "import no_such_package.inside\n" + TASK,
            "needs the module 'no_such_package'.* usually: pip install no_such_package",
        ),
        ("def broken(:\n", "(?s)fails when it is imported:.*SyntaxError"),
        ("raise SystemExit(3)", "(?s)fails when it is imported:.*SystemExit: 3"),
    ],
)
def test_what_can_be_wrong_with_a_task_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_task(write(tmp_path / "my_task.py", text))


def test_traceback_of_the_users_code_fits_on_a_screen(tmp_path: Path) -> None:
    path = write(tmp_path / "my_task.py", "def f(n):\n    return 1 / n if n < 1 else f(n - 1)\n\nf(50)\n")
    with pytest.raises(InputError) as caught:
        load_task(path)
    text = str(caught.value)
    assert "ZeroDivisionError" in text
    assert "line 2, in f" in text
    assert "importlib" not in text
    assert len(text.splitlines()) < 20


def test_failed_import_leaves_no_module_behind(tmp_path: Path) -> None:
    before = {name for name in sys.modules if name.startswith("raytt_task_")}
    with pytest.raises(InputError):
        load_task(write(tmp_path / "my_task.py", "1 / 0"))
    assert {name for name in sys.modules if name.startswith("raytt_task_")} == before


def test_errors_of_raytt_in_a_task_file_pass_through(tmp_path: Path) -> None:
    text = "from raytt.task.candidate import Candidate\nsearch_space = [Candidate(lr=-1)]\n" + TASK
    with pytest.raises(InputError, match=r"^lr is -1"):
        load_task(write(tmp_path / "my_task.py", text))


def test_interrupt_passes_through(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_task(write(tmp_path / "my_task.py", "raise KeyboardInterrupt"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nothing.py", "There is no file nothing.py"),
        ("folder/", "There is no file folder"),
        ("no_such_module_here", "There is no module 'no_such_module_here'. Give a task file"),
        ("json.no_such_module", "There is no module 'json.no_such_module'"),
        ("json", "json defines no `task`"),
        ("json::decoder", "`decoder` in json is a module, not a raytt.Task"),
    ],
)
def test_names_that_lead_nowhere(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_task(spec)
