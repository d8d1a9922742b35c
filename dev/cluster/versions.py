"""The versions of Kubernetes and containerd that the cluster can run, and what each one needs.

`kubernetes/go.mod` requires the default version of Kubernetes, `kubernetes/versions/*/go.mod` the
others: the newest patch of each minor version of which the Go module proxy serves all modules.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).with_name("kubernetes")
CONTAINERD_SOURCES = Path(__file__).with_name("containerd")
DEFAULT = "1.34"
DEBIAN = "debian"
"""The containerd of the machine's packages."""

_KUBERNETES = "k8s.io/kubernetes"
_CONTAINERD = "github.com/containerd/containerd/v2"


@dataclass(frozen=True)
class Needs:
    """What a version of Kubernetes needs; `tags` choose Go files of `kubernetes/`."""

    oldest_go: tuple[int, int]
    tags: tuple[str, ...] = ()


NEEDS: Mapping[str, Needs] = {
    "1.31": Needs((1, 24), tags=("before_1_34",)),
    "1.32": Needs((1, 24), tags=("before_1_34",)),
    "1.33": Needs((1, 24), tags=("before_1_34",)),
    "1.34": Needs((1, 24)),
    "1.35": Needs((1, 25)),
    "1.36": Needs((1, 26)),
    "1.37": Needs((1, 26)),
}


@dataclass(frozen=True)
class Kubernetes:
    """A minor version of Kubernetes."""

    minor: str = DEFAULT

    @property
    def needs(self) -> Needs:
        """What it needs."""
        return NEEDS[self.minor]

    @property
    def go_mod(self) -> Path:
        """The file that requires its modules; their checksums are beside it."""
        return SOURCES / "go.mod" if self.minor == DEFAULT else SOURCES / "versions" / self.minor / "go.mod"

    @property
    def version(self) -> str:
        """With its patch, as in `1.34.4`."""
        return _required(_KUBERNETES, self.go_mod)


@dataclass(frozen=True)
class Versions:
    """What a cluster runs: Kubernetes, and Debian's containerd or a major version of it."""

    kubernetes: Kubernetes = Kubernetes()
    containerd: str = DEBIAN

    def __str__(self) -> str:
        """As in `Kubernetes 1.34.4 with Debian's containerd`."""
        runtime = "Debian's containerd" if self.containerd == DEBIAN else f"containerd {containerd_version()}"
        return f"Kubernetes {self.kubernetes.version} with {runtime}"


CONTAINERDS = (DEBIAN, "2")


def chosen(kubernetes: str | None, containerd: str | None) -> Versions:
    """The versions with these names; None stands for the default."""
    return Versions(Kubernetes(kubernetes or DEFAULT), containerd or DEBIAN)


def containerd_version() -> str:
    """The version that is built from Go modules."""
    return _required(_CONTAINERD, CONTAINERD_SOURCES / "go.mod")


def _required(module: str, go_mod: Path) -> str:
    found = re.search(rf"^\s*(?:require )?{re.escape(module)} v(\S+)", go_mod.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{go_mod} does not require {module}")
    return found[1]
