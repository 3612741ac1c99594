"""What the documentation promises of itself."""

from __future__ import annotations

import re
import tomllib

import pytest

import raytt

from .pages import PAGES, ROOT


def test_readme_is_a_front_page() -> None:
    assert len(PAGES["README.md"].split()) <= 1200


def test_readme_has_the_command_that_ci_runs() -> None:
    assert re.search(r"<!-- ci:test -->\n```bash\n[^\n]+pytest\n```", PAGES["README.md"])


def test_every_public_name_is_in_the_reference() -> None:
    reference = "\n".join(text for page, text in PAGES.items() if page.startswith("docs/reference/"))
    described = set(re.findall(r"^::: raytt\.(\w+)$", reference, flags=re.MULTILINE))
    assert set(raytt.__all__) <= described


def test_every_room_is_in_the_map_of_the_house() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    rooms = {room.strip() for layer in contracts[0]["layers"] for room in layer.split(":")} - {"__main__"}
    table = re.findall(r"^\| (`[a-z`, ]+`) \|", PAGES["docs/contributing.md"], flags=re.MULTILINE)
    assert rooms <= set(re.findall(r"`(\w+)`", " ".join(table)))


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_lead_to_files(page: str) -> None:
    # Links between pages of the site are checked by `mkdocs build --strict`, these as they are read in the repository.
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", PAGES[page]):
        if "://" not in link:
            assert (ROOT / page).parent.joinpath(link).exists(), link
