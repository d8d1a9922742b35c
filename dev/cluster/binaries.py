"""Builds Kubernetes and containerd from Go modules, once per version of their sources."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cache
import go
from progress import Step
from steps import Steps
from versions import CONTAINERD_SOURCES, DEBIAN, SOURCES, Kubernetes, Versions, containerd_version

VERSION_PACKAGES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
ENVIRONMENT = {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
FLAGS = ("-trimpath", "-buildvcs=false")
# File systems that containerd supports with C libraries or that no node here has.
WITHOUT = "no_btrfs no_devmapper no_zfs"
CONTAINERD = "github.com/containerd/containerd/v2/cmd"


@dataclass(frozen=True)
class Build:
    """Programs of a Go module, and the folder in the cache that keeps them.

    `packages` are packages by the names of their programs. `sources` decide about the folder's
    name, together with the flags. `measured` says how long the compilation takes.
    """

    name: str
    title: str
    module: go.Module
    packages: Mapping[str, str]
    sources: tuple[Path, ...]
    oldest_go: tuple[int, int]
    measured: str

    @property
    def folder(self) -> Path:
        """The folder in the cache, filled or not."""
        sources = (source.read_bytes() for source in self.sources)
        return cache.folder() / f"{self.name}-{cache.key([str(self.module.flags).encode(), *sources])}"

    def planned(self) -> list[Step]:
        """The steps that build the programs; none if they are in the cache."""
        return [] if self.folder.exists() else [*go.planned(self.oldest_go), self._download, self._compile]

    def programs(self, steps: Steps) -> Path:
        """The folder with the programs, built if they are missing in the cache."""
        folder = self.folder
        if not folder.exists():
            with cache.lock(self.name):
                if not folder.exists():
                    self._build_into(folder, steps)
        return folder

    def _build_into(self, folder: Path, steps: Steps) -> None:
        program = go.program(self.oldest_go, steps)
        with cache.scratch(self.name) as work:
            with steps.doing(self._download) as report:
                missing = self.module.download(program, list(self.packages.values()), report)
            with steps.doing(self._compile) as report:
                built = work / "built"
                built.mkdir()
                targets = {built / name: package for name, package in self.packages.items()}
                self.module.build(program, targets, missing, report)
                built.rename(folder)

    @property
    def _download(self) -> Step:
        return Step(f"download the Go modules of {self.title}", "once per machine")

    @property
    def _compile(self) -> Step:
        cores = len(os.sched_getaffinity(0))
        return Step(f"compile {self.title}", f"once per machine, {self.measured}; this machine has {cores}")


@dataclass(frozen=True)
class Binaries:
    """The folders of the built programs. Without `containerd`, the machine's own is used."""

    pause_folder: Path
    kubernetes_folder: Path
    containerd: Path | None = None

    @property
    def kubernetes(self) -> Path:
        """All components in one program; the first argument names the component.

        Under the name `kubectl` it is kubectl.
        """
        return self.kubernetes_folder / "kubernetes"

    @property
    def pause(self) -> Path:
        """The static program that a pod's sandbox runs."""
        return self.pause_folder / "pause"


def builds(versions: Versions) -> list[Build]:
    """What a cluster of these versions is built of, in the order of `Binaries`."""
    runtime = [] if versions.containerd == DEBIAN else [containerd()]
    return [pause(), kubernetes(versions.kubernetes), *runtime]


def planned(versions: Versions) -> list[Step]:
    """The steps that build the programs; none for those in the cache."""
    return [step for build in builds(versions) for step in build.planned()]


def located(versions: Versions) -> Binaries:
    """The paths of the programs in the cache, built or not."""
    return Binaries(*(build.folder for build in builds(versions)))


def build(versions: Versions, steps: Steps) -> Binaries:
    """The programs from the cache, built if they are missing there."""
    return Binaries(*(one.programs(steps) for one in builds(versions)))


def pause() -> Build:
    """The same for all versions, because an archive of images has it in it."""
    module = go.Module(SOURCES, _flags([]), ENVIRONMENT, SOURCES / "go.mod")
    sources = tuple(sorted(SOURCES.glob("pause/*.go")))
    return Build("pause", "the pause program", module, {"pause": "./pause"}, sources, (1, 24), "a few seconds")


def kubernetes(kubernetes: Kubernetes) -> Build:
    """All components and kubectl, in one program."""
    go_mod, needs = kubernetes.go_mod, kubernetes.needs
    major, minor, _ = kubernetes.version.split(".")
    stamps = {"gitVersion": f"v{kubernetes.version}", "gitMajor": major, "gitMinor": minor}
    linked = [f"-X {package}.{name}={value}" for package in VERSION_PACKAGES for name, value in stamps.items()]
    flags = _flags(linked, tags=" ".join(needs.tags))
    sources = (go_mod, go_mod.with_suffix(".sum"), *sorted(SOURCES.glob("*.go")))
    title, module = f"Kubernetes v{kubernetes.version}", go.Module(SOURCES, flags, ENVIRONMENT, go_mod)
    measured = "6 to 10 minutes on two free cores"
    return Build("kubernetes", title, module, {"kubernetes": "."}, sources, needs.oldest_go, measured)


def containerd() -> Build:
    """containerd, its shim and ctr. The machine's runc runs the containers."""
    go_mod = CONTAINERD_SOURCES / "go.mod"
    module = go.Module(CONTAINERD_SOURCES, _flags([], tags=WITHOUT), ENVIRONMENT, go_mod)
    packages = {name: f"{CONTAINERD}/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")}
    sources, title = (go_mod, go_mod.with_suffix(".sum")), f"containerd v{containerd_version()}"
    return Build("containerd", title, module, packages, sources, (1, 26), "3 to 4 minutes on two free cores")


def _flags(linked: Sequence[str], tags: str = "") -> list[str]:
    tagged = ["-tags", tags] if tags else []
    return [*FLAGS, *tagged, "-ldflags", " ".join(["-s -w", *linked])]
