"""Settings objects from flat names, for tests that vary one setting at a time."""

from __future__ import annotations

from typing import Any

from raytt.settings.cluster import ClusterSettings
from raytt.settings.declaration import Settings, settings_of
from raytt.settings.estimator import EstimatorSettings
from raytt.settings.run import RunSettings

PLACES: dict[str, type[Settings]] = {"estimator": EstimatorSettings, "cluster": ClusterSettings, "run": RunSettings}


def grouped(options: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `raytt.rank`: those that are fields of a settings class in an object of it, others as they are."""
    rest, found = dict(options), {}
    for argument, owner in PLACES.items():
        own = {s.name: rest.pop(s.name) for s in settings_of(owner) if s.name in rest}
        if own:
            found[argument] = owner(**own)
    return rest | found
