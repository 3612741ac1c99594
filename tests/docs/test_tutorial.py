"""Every command of the tutorial runs, in order, in an empty folder, and then its Python code."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import PAGES, ROOT, blocks

BLOCKS = re.findall(r"<!-- ci:tutorial -->\n```bash\n(.*?)```", PAGES["docs/tutorial.md"], flags=re.DOTALL)


def test_the_tutorial_has_commands() -> None:
    text = "".join(BLOCKS)
    for command in ("init", "rank", "budget", "report", "export", "validate", "doctor"):
        assert f"raytt {command}" in text


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_its_commands_and_code_run(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "raytt"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m raytt "$@"\n')
    script.chmod(0o755)
    bash = shutil.which("bash")
    assert bash is not None
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    work = tmp_path / "work"
    work.mkdir()
    (work / "notebook.py").write_text("\n".join(blocks("docs/tutorial.md", "python")), encoding="utf-8")
    commands = [*BLOCKS, shlex.join([sys.executable, "notebook.py"])]
    done = subprocess.run(
        [bash, "-euo", "pipefail", "-c", "\n".join(commands)], cwd=work, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "would do" in done.stdout
    assert (work / "text.html").stat().st_size > 30_000
    assert (work / "image.html").stat().st_size > 30_000
    assert (work / "plans.json").exists()
