"""When Kubernetes and containerd are built."""

from __future__ import annotations

from pathlib import Path

import binaries
import pytest
from cache import folder
from versions import DEFAULT, NEEDS, Kubernetes, chosen


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache without programs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize("minor", NEEDS)
def test_a_first_start_says_what_the_build_takes(minor: str) -> None:
    """The step's note names the measured time and that the build happens once."""
    compile = binaries.planned(chosen(minor, None))[-1]
    assert compile.title == f"compile Kubernetes v{Kubernetes(minor).version}"
    assert compile.note.startswith("once per machine, 6 to 10 minutes on two free cores; this machine has ")


def test_containerd_is_built_where_it_is_asked_for() -> None:
    """By default the machine's own is used."""
    assert not any("containerd" in step.title for step in binaries.planned(chosen(None, None)))
    assert binaries.planned(chosen(None, "2"))[-1].title.startswith("compile containerd v2.")
    assert binaries.located(chosen(None, None)).containerd is None


def test_cached_programs_are_not_built_again() -> None:
    """The folder's name depends on the sources and the flags."""
    versions = chosen("1.37", "2")
    for build in binaries.builds(versions):
        assert not build.folder.exists()
        build.folder.mkdir()
        assert build.folder.parent == folder()
    assert binaries.planned(versions) == []


def test_each_version_has_a_folder_of_its_own() -> None:
    """Several are side by side in the cache; what a pod's sandbox runs is the same for all."""
    located = [binaries.located(chosen(minor, None)) for minor in NEEDS]
    assert len({one.kubernetes for one in located}) == len(NEEDS)
    assert len({one.pause for one in located}) == 1
    assert binaries.located(chosen(None, None)) == binaries.located(chosen(DEFAULT, "debian"))
