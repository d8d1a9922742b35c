"""The end of scripts whose Jobs are not followed."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_script_provider.jobs.answers import left_scripts
from airflow_script_provider.jobs.answers.left_scripts import scripts_left
from airflow_script_provider.kube.job import termination
from tests.builders import a_pod

RUNS = a_pod(running=True)
LEAVES = a_pod(running=True, being_deleted=True)
ENDED = a_pod(exit_code=143, being_deleted=True)


@pytest.mark.parametrize(
    ("lists", "names", "waits"),
    [
        ([(0, [])], [], 0),
        ([(0, [ENDED])], [], 0),
        ([(0, [RUNS]), (9, [ENDED])], [], 1),
        ([(0, [RUNS]), (9, [])], [], 1),
        ([(0, [RUNS]), (9, [RUNS]), (10, [RUNS])], ["load-x1"], 1),
        ([(0, [RUNS]), (9, [LEAVES]), (18, [LEAVES]), (19, [LEAVES])], ["load-x1"], 1),
    ],
    ids=["none", "ended", "ends", "gone", "stays", "asked to end late"],
)
async def test_how_long_a_script_is_waited_for(
    lists: list[tuple[float, list[dict[str, Any]]]], names: list[str], waits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its grace period, from the deletion of its pod on; what it may still run in is known (R2, R5, R10)."""
    now, coming = [0.0], list(lists)
    noted: list[Sequence[Any]] = []
    monkeypatch.setattr(left_scripts, "LIST_INTERVAL", 0)
    monkeypatch.setattr(left_scripts, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(termination, "MARGIN", 0.0)

    async def pods() -> Sequence[dict[str, Any]]:
        now[0], listed = coming.pop(0)
        return listed

    left = await scripts_left(pods, 10, noted.append)
    assert [pod["metadata"]["name"] for pod in left] == names
    assert (coming, len(noted)) == ([], waits)
