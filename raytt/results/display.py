"""How results show themselves in terminals and notebooks: a hook that `raytt.report.display` fills.

Results are data and know no view. Whoever shows them registers one per class; without any, they print as dataclasses
do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, kw_only=True)
class View:
    """How results of one class are shown."""

    rich: Callable[[Any], RenderableType]
    """For a terminal, with colours."""
    plain: Callable[[Any], str]
    """The same as text."""
    html: Callable[[Any], str] | None = None
    """For a notebook; None: as text."""


_views: dict[type, View] = {}


def show_with(kind: type, view: View) -> None:
    """Show results of a class with a view from now on."""
    _views[kind] = view


class Shown:
    """Results that show themselves with the view registered for their class."""

    def __rich__(self) -> RenderableType:
        view = _views.get(type(self))
        return repr(self) if view is None else view.rich(self)

    def __str__(self) -> str:
        view = _views.get(type(self))
        return repr(self) if view is None else view.plain(self)

    def _repr_html_(self) -> str | None:
        view = _views.get(type(self))
        return None if view is None or view.html is None else view.html(self)
