"""Stand-ins for public images, made of Debian packages: a machine may not reach a registry.

A stand-in has three layers: a minimal Debian that all share, its packages, and small files of this
machine (the CA bundle, pip's settings). The first two are the same on every machine, so each is a
file of its own in the cache.
"""

from __future__ import annotations

import configparser
import functools
import io
import os
import platform
import re
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cache
import oci
from commands import run, succeeds
from errors import ClusterError
from progress import Step
from steps import Steps

SUITE = "bookworm"
PAUSE = "docker.io/library/pause-only:1"
CA_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INSTALLER = Path(__file__).with_name("install-layer.sh")

# These settings decide which index pip reaches; the others are preferences or local folders.
PIP_SETTINGS = {"index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries"}

MMDEBSTRAP = (
    "mmdebstrap",
    "--quiet",
    "--variant=minbase",
    "--mode=root",
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    # As in Docker's Debian image: an installed package must not start its service.
    "--customize-hook=printf '#!/bin/sh\\nexit 101\\n' >\"$1/usr/sbin/policy-rc.d\"",
    '--customize-hook=chmod 755 "$1/usr/sbin/policy-rc.d"',
    SUITE,
)


@dataclass(frozen=True)
class Recipe:
    """How a stand-in differs from the minimal Debian."""

    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    path: str = PATH
    env: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()


BASE = Step("make a minimal Debian", "mmdebstrap, once per machine")
PACK = Step("pack the images")

RECIPES = (
    Recipe(
        "docker.io/library/python:3.11-slim",
        packages=("python3", "python3-pip", "python3-venv"),
        command=("python3",),
        env={"PIP_BREAK_SYSTEM_PACKAGES": "1", "PIP_ROOT_USER_ACTION": "ignore"},
        links={
            "usr/local/bin/python": "/usr/bin/python3",
            "usr/local/bin/python3": "/usr/bin/python3",
            "usr/local/bin/pip": "/usr/bin/pip3",
        },
        # The public image's Python belongs to its user, Debian's to apt.
        removed=("usr/lib/python3.11/EXTERNALLY-MANAGED",),
    ),
    Recipe(
        "docker.io/library/node:20-slim",
        packages=("nodejs",),
        command=("node",),
        links={"usr/local/bin/node": "/usr/bin/node"},
    ),
    Recipe(
        "docker.io/library/postgres:15-alpine",
        packages=("postgresql-15", "postgresql-client-15"),
        command=("postgres",),
        path=f"/usr/lib/postgresql/15/bin:{PATH}",
    ),
    Recipe(
        "docker.io/library/dnf:bookworm",
        # rpm and createrepo-c make a repository, because a public one may be out of reach.
        packages=("dnf", "rpm", "createrepo-c"),
        command=("bash",),
        removed=("usr/bin/apt-get",),
    ),
)


def planned(pause: Path | None) -> list[Step]:
    """The steps that make the archive; none if it is cached. Before the build, `pause` is None."""
    if pause and _archive_path(pause).exists():
        return []
    base = [] if _base_path().exists() else [BASE]
    return [*base, *(_packages_step(recipe) for recipe in RECIPES if not _packages_path(recipe).exists()), PACK]


def archive(pause: Path, steps: Steps) -> Path:
    """The archive of all images, made if it is not in the cache; `pause` is the static binary."""
    path = _archive_path(pause)
    if not path.exists():
        with cache.lock("images"):
            if not path.exists():
                _build_archive(path, pause, steps)
    return path


def _archive_path(pause: Path) -> Path:
    files = [_files(recipe) for recipe in RECIPES]
    key = cache.key([str(RECIPES).encode(), _base_key().encode(), INSTALLER.read_bytes(), pause.read_bytes(), *files])
    return cache.folder() / f"images-{key}.tar"


def _build_archive(path: Path, pause: Path, steps: Steps) -> None:
    with cache.scratch("images") as work:
        base = _base(steps)
        packages = {recipe.name: _packages(recipe, work, steps) for recipe in RECIPES}
        with steps.doing(PACK):
            images = [_stand_in(recipe, base, packages[recipe.name], work) for recipe in RECIPES]
            oci.write_archive(work / "images.tar", [*images, _pause_image(pause, work)])
            # The cached layers give a new archive in seconds, so older archives are deleted.
            for older in cache.folder().glob("images-*.tar"):
                older.unlink()
            (work / "images.tar").rename(path)


def _stand_in(recipe: Recipe, base: Path, packages: Path, work: Path) -> oci.BuiltImage:
    own = work / f"{recipe.name.replace('/', '_')}.tar"
    own.write_bytes(_files(recipe))
    return oci.BuiltImage(recipe.name, [base, packages, own], _config(recipe))


def _pause_image(pause: Path, work: Path) -> oci.BuiltImage:
    layer = work / "pause.tar"
    with tarfile.open(layer, "w") as tar:
        oci.add_file(tar, "pause", pause.read_bytes(), 0o755)
    return oci.BuiltImage(PAUSE, [layer], {"Entrypoint": ["/pause"], "Env": [f"PATH={PATH}"], "User": "65535:65535"})


def _config(recipe: Recipe) -> dict[str, list[str]]:
    env = {"PATH": recipe.path, "LANG": "C.UTF-8", "SSL_CERT_FILE": CA_BUNDLE, **recipe.env}
    return {"Env": [f"{name}={value}" for name, value in env.items()], "Cmd": list(recipe.command)}


def _base_key() -> str:
    return cache.key([str(MMDEBSTRAP).encode(), platform.machine().encode()])


def _base_path() -> Path:
    return cache.folder() / f"layer-debian-{_base_key()}.tar"


def _base(steps: Steps) -> Path:
    """The layer that all stand-ins share."""
    path = _base_path()
    if not path.exists():
        with cache.scratch("debian") as work, steps.doing(BASE):
            run([*MMDEBSTRAP, work / "base.tar"])
            (work / "base.tar").rename(path)
    return path


def _packages_path(recipe: Recipe) -> Path:
    key = cache.key([_base_key().encode(), INSTALLER.read_bytes(), str(recipe.packages).encode()])
    return cache.folder() / f"layer-{recipe.packages[0]}-{key}.tar"


def _packages_step(recipe: Recipe) -> Step:
    return Step(
        f"make image {recipe.name.rpartition('/')[2]}",
        f"Debian packages {', '.join(recipe.packages)}; once per machine",
    )


def _packages(recipe: Recipe, work: Path, steps: Steps) -> Path:
    """The layer with the stand-in's packages; the next stand-in reuses the files in `work`."""
    path = _packages_path(recipe)
    if not path.exists():
        with steps.doing(_packages_step(recipe)):
            _unpack_base(work)
            run(["unshare", "--mount", INSTALLER, work, *recipe.packages])
            (work / "layer.tar").rename(path)
    return path


def _unpack_base(work: Path) -> None:
    base = work / "base"
    if not base.exists():
        base.mkdir()
        run(["tar", "--extract", "--numeric-owner", "--file", _base_path(), "--directory", base])


def _files(recipe: Recipe) -> bytes:
    """The layer with the files of this machine and with what the recipe links or removes."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        oci.add_file(tar, CA_BUNDLE.lstrip("/"), _ca_bundle())
        oci.add_file(tar, "etc/pip.conf", _pip_settings().encode())
        for name, target in recipe.links.items():
            oci.add_link(tar, name, target)
        for removed in recipe.removed:
            folder, _, name = removed.rpartition("/")
            oci.add_file(tar, f"{folder}/.wh.{name}", b"")
    return content.getvalue()


def _ca_bundle() -> bytes:
    for candidate in (os.environ.get("SSL_CERT_FILE", ""), CA_BUNDLE, "/etc/pki/tls/certs/ca-bundle.crt"):
        if candidate and Path(candidate).is_file():
            return Path(candidate).read_bytes()
    raise ClusterError(f"no CA bundle found at {CA_BUNDLE}: install ca-certificates")


@functools.cache
def _pip_settings() -> str:
    """A pip.conf with which pods reach the same package index as this machine."""
    has_pip = succeeds([sys.executable, "-m", "pip", "--version"])
    listed = run([sys.executable, "-m", "pip", "config", "list"]) if has_pip else ""
    parser = configparser.ConfigParser(interpolation=None)
    parser["global"] = {"cert": CA_BUNDLE} | pip_index_settings(listed)
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def pip_index_settings(listed: str) -> dict[str, str]:
    """Those settings of `pip config list` that decide which index pip reaches."""
    settings = re.findall(r"^([\w:]+)\.([\w-]+)='(.*)'$", listed, re.MULTILINE)
    settings.sort(key=lambda setting: setting[0] == ":env:")  # environment variables win
    return {name: value.replace("\\n", "\n") for _, name, value in settings if name in PIP_SETTINGS}
