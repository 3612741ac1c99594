from __future__ import annotations

from typing import Any

import pytest

from raytt.errors import InputError
from raytt.settings.cluster import ClusterSettings, read_resources, write_resources


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_workers": 4, "min_workers": 5}, "min_workers is 5, num_workers is 4"),
        ({"min_workers": 0}, "min_workers is 0"),
        ({"wait_seconds": 0.0}, r"wait_seconds is 0.0. Give a number above 0\."),
        ({"wait_seconds": float("nan")}, "wait_seconds is nan"),
        ({"use_gpu": 1}, r"use_gpu is 1. Give True or False\."),
        ({"resources_per_worker": {"CPU": 0}}, "CPU=0"),
        ({"resources_per_worker": {"CPU": 1.5}}, "CPU=1.5"),
        ({"resources_per_worker": {"CPU": -1}}, "CPU=-1"),
        ({"resources_per_worker": {"CPU": "2"}}, "CPU='2'"),
        ({"resources_per_worker": {"x": float("nan")}}, "x=nan"),
        ({"resources_per_worker": {"GPU": 1}}, "use_gpu is False"),
        ({"resources_per_worker": {"GPU": 0}, "use_gpu": True}, "use_gpu is True"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ClusterSettings(**given)


@pytest.mark.parametrize(
    ("given", "workers"),
    [
        ({}, 1),
        ({"num_workers": 4}, 4),
        ({"num_workers": 4, "min_workers": 2}, 2),
        ({"num_workers": 4, "wait_seconds": 60.0}, None),
    ],
)
def test_workers_that_must_fit_from_the_start(given: dict[str, Any], workers: int | None) -> None:
    assert ClusterSettings(**given).workers_from_the_start == workers


@pytest.mark.parametrize(
    ("given", "customized"),
    [({}, False), ({"num_workers": 3}, False), ({"use_gpu": True}, True), ({"resources_per_worker": {"CPU": 2}}, True)],
)
def test_whether_workers_are_customized(given: dict[str, Any], customized: bool) -> None:
    assert ClusterSettings(**given).customizes_workers is customized


def test_resources_on_the_command_line() -> None:
    resources = {"CPU": 4.0, "GPU": 0.5, "tpu": 1.0}
    assert read_resources("CPU=4, GPU=0.5,tpu=1") == resources
    assert read_resources(write_resources(resources)) == resources


@pytest.mark.parametrize("text", ["", "CPU", "CPU=", "=4", "CPU=four", "CPU=4,", "CPU:4"])
def test_other_text_is_no_resources(text: str) -> None:
    with pytest.raises(InputError, match=r"Cannot read resources_per_worker.*Write it as CPU=4,GPU=1\."):
        read_resources(text)
