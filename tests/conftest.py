"""Settings that Airflow reads when it is first imported: a home of its own, thrown away with the process."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]  # xdist has no types

from tests.patience import PATIENCE

_home = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, _home, ignore_errors=True)

os.environ["AIRFLOW_HOME"] = _home
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "True"
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

# The same examples in each run, and no verdict on how fast a busy machine is.
settings.register_profile("same", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """End a test that hangs: later than its own waits end, which say for what."""
    for item in items:
        item.add_marker(pytest.mark.timeout(2 * PATIENCE))


def pytest_runtest_teardown() -> None:
    """Let no test's kill end the runs of another one: a process remembers what was killed in it."""
    if interruption := sys.modules.get("airflow_script_provider._interruption"):
        interruption._killed_tries.clear()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """A file's tests run in one process, as do all files that share an Airflow, which takes long to start."""
    return _FilesTogether(config, log)


class _FilesTogether(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "on_airflow" if file.endswith("_on_airflow.py") else file
