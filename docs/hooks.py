"""Pages of the site that live elsewhere in the repository: the dated reports, and the guide to the cluster files.

Links to them are written as paths in the repository (``../benchmarks/results/….md``), so that they also work where the
Markdown files are read without the site; here they become links within the site.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
CLUSTER = "cluster-files.md"
REPORTS = "results"
INDEX = "<!-- reports -->"


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    files.append(File.generated(config, CLUSTER, abs_src_path=str(ROOT / "cluster" / "README.md")))
    for report in _reports():
        files.append(File.generated(config, f"{REPORTS}/{report.name}", abs_src_path=str(report)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn links into the repository into links within the site, and write the list of reports where it belongs."""
    lines = [f"* [{report.stem}](../benchmarks/results/{report.name})" for report in reversed(_reports())]
    markdown = markdown.replace(INDEX, "\n".join(lines))
    markdown = re.sub(r"\]\(\.\./benchmarks/results/", f"]({REPORTS}/", markdown)
    markdown = markdown.replace("](../cluster/README.md", f"]({CLUSTER}")
    return markdown.replace("](../README.md", "](index.md")


def _reports() -> list[Path]:
    return sorted((ROOT / "benchmarks" / "results").glob("*.md"))
