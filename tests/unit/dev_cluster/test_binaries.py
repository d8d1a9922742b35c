"""When Kubernetes is built."""

from __future__ import annotations

from pathlib import Path

import binaries
import pytest
from cache import folder


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache without programs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_first_start_says_what_the_build_takes() -> None:
    """The step's note names the measured time and that the build happens once."""
    compile = binaries.planned()[-1]
    assert compile.title == f"compile Kubernetes v{'.'.join(binaries.version())}"
    assert compile.note.startswith("once per machine, 6 to 10 minutes on two free cores; this machine has ")


def test_a_cached_kubernetes_is_not_built_again() -> None:
    """The folder's name depends on the sources and the flags."""
    assert binaries.cached() is None
    binaries.located().folder.mkdir()
    assert binaries.planned() == []
    assert binaries.located().folder.parent == folder()
