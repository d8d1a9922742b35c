"""Builds the Kubernetes programs from Go modules, once per version of their sources."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import cache
import go
from progress import Step
from steps import Steps

SOURCES = Path(__file__).with_name("kubernetes")
KUBERNETES = re.compile(r"^\s*k8s\.io/kubernetes v(\d+)\.(\d+)\.(\d+)$", re.MULTILINE)
OLDEST_GO = (1, 24)
VERSION_PACKAGES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
ENVIRONMENT = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
# The small program first: then only Kubernetes' linking follows after the last package.
PACKAGES = {"pause": "./pause", "kubernetes": "."}
DOWNLOAD = Step("download Go modules", "once per machine")
MEASURED = "6 to 10 minutes on two free cores"


@dataclass(frozen=True)
class Binaries:
    """The paths of the built programs."""

    folder: Path

    @property
    def kubernetes(self) -> Path:
        """All components in one program; the first argument names the component."""
        return self.folder / "kubernetes"

    @property
    def kubectl(self) -> Path:
        """The same file under kubectl's name."""
        return self.folder / "kubectl"

    @property
    def pause(self) -> Path:
        """The static program that a pod's sandbox runs."""
        return self.folder / "pause"


def version() -> tuple[str, str, str]:
    """Kubernetes' major, minor and patch version, as go.mod requires it."""
    found = KUBERNETES.search((SOURCES / "go.mod").read_text())
    if found is None:
        raise ValueError(f"{SOURCES}/go.mod does not require k8s.io/kubernetes")
    major, minor, patch = found.groups()
    return major, minor, patch


def cached() -> Binaries | None:
    """The programs, if they are in the cache."""
    binaries = located()
    return binaries if binaries.folder.exists() else None


def planned() -> list[Step]:
    """The steps that build the programs; none if they are in the cache."""
    return [] if cached() else [*go.planned(OLDEST_GO), DOWNLOAD, _compile_step()]


def build(steps: Steps) -> Binaries:
    """The programs from the cache, built if they are missing there."""
    binaries = located()
    if not cached():
        with cache.lock("kubernetes"):
            if not cached():
                _build_into(binaries.folder, steps)
    return binaries


def located() -> Binaries:
    """The paths of the programs in the cache, built or not."""
    sources = sorted([*SOURCES.glob("go.*"), *SOURCES.rglob("*.go")])
    key = cache.key([str(_build_flags()).encode(), *(source.read_bytes() for source in sources)])
    return Binaries(cache.folder() / f"kubernetes-{key}")


def _build_into(folder: Path, steps: Steps) -> None:
    program = go.program(OLDEST_GO, steps)
    module = go.Module(SOURCES, _build_flags(), ENVIRONMENT)
    with cache.scratch("kubernetes") as work:
        with steps.doing(DOWNLOAD) as report:
            missing = module.download(program, list(PACKAGES.values()), report)
        with steps.doing(_compile_step()) as report:
            built = work / "built"
            built.mkdir()
            module.build(program, {built / name: package for name, package in PACKAGES.items()}, missing, report)
            (built / "kubectl").symlink_to("kubernetes")
            built.rename(folder)


def _compile_step() -> Step:
    cores = len(os.sched_getaffinity(0))
    return Step(f"compile Kubernetes {_name()}", f"once per machine, {MEASURED}; this machine has {cores}")


def _name() -> str:
    return "v" + ".".join(version())


def _build_flags() -> list[str]:
    major, minor, patch = version()
    stamps = {"gitVersion": f"v{major}.{minor}.{patch}", "gitMajor": major, "gitMinor": minor}
    linked = [f"-X {package}.{name}={value}" for package in VERSION_PACKAGES for name, value in stamps.items()]
    return ["-trimpath", "-buildvcs=false", "-ldflags", " ".join(["-s -w", *linked])]
