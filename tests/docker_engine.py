"""A Docker engine for tests: Debian's dockerd with folders and sockets of its own, and the cluster's Python image."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
from requests import RequestException

from tests.patience import PATIENCE, wait_for

IMAGE = "python:3.11-slim"
NO_SHELL = "pause-only:1"
_ARCHIVED = "docker.io/library/"
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


@contextlib.contextmanager
def docker_engine() -> Iterator[str]:
    """The address of an engine that has the image; it ends with the block and leaves nothing behind."""
    folder = Path(tempfile.mkdtemp(prefix="dockerd-"))
    address = f"unix://{folder}/docker.sock"
    try:
        with _running(folder, address) as engine:
            _load_image(engine)
            yield address
    finally:
        _unmount(folder)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(folder: Path, address: str) -> Iterator[Any]:
    path = f"{os.environ['PATH']}:{_SYSTEM_PATH}"
    if shutil.which("dockerd", path=path) is None:
        raise FileNotFoundError("no dockerd on this machine; run dev/docker")
    command = [
        "dockerd", "-H", address, "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec",
        "--pidfile", f"{folder}/pid", "--bridge", "none", "--iptables=false",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"PATH": path})
    try:
        with contextlib.closing(_answering(daemon, address, folder / "log")) as engine:
            yield engine
            with contextlib.suppress(RequestException):  # a test has ended the engine
                for container in engine.containers.list(all=True):
                    container.remove(force=True)
    finally:
        daemon.terminate()
        daemon.wait(PATIENCE)


def _answering(daemon: subprocess.Popen[bytes], address: str, log: Path) -> Any:
    def answers() -> bool:
        if daemon.poll() is not None:
            raise RuntimeError(f"dockerd has ended:\n{log.read_text(errors='replace')[-2000:]}")
        return _answers(address.removeprefix("unix://"))

    wait_for(answers, f"dockerd ({log})")
    return docker.DockerClient(base_url=address, timeout=PATIENCE)


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(path) == 0


def _load_image(engine: Any) -> None:
    """Docker 20.10 reads no OCI archives, so the cluster's image is put into Docker's own form."""
    with tempfile.TemporaryFile() as archive:
        _write_docker_archive(_cached_images(), archive)
        archive.seek(0)
        engine.images.load(archive)


def _cached_images() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airflow-script-provider"
    found = sorted(cache.glob("images-*.tar"))
    if not found:
        raise FileNotFoundError(f"{cache} has no images; run make cluster-up, which makes them")
    return found[-1]


def _write_docker_archive(images: Path, target: Any) -> None:
    with tarfile.open(images) as source, tarfile.open(fileobj=target, mode="w") as archive:
        entries = [_copied(name, source, archive) for name in (IMAGE, NO_SHELL)]
        content = json.dumps(entries).encode()
        header = tarfile.TarInfo("manifest.json")
        header.size = len(content)
        archive.addfile(header, io.BytesIO(content))


def _copied(name: str, source: tarfile.TarFile, archive: tarfile.TarFile) -> dict[str, Any]:
    """Copy an image's blobs; what Docker's manifest says of it."""
    entries = _json(source, "index.json")["manifests"]
    entry = next(e for e in entries if e["annotations"]["io.containerd.image.name"] == _ARCHIVED + name)
    manifest = _json(source, _blob(entry))
    blobs = [_blob(blob) for blob in (manifest["config"], *manifest["layers"])]
    for blob in blobs:
        member = source.getmember(blob)
        archive.addfile(member, source.extractfile(member))
    return {"Config": blobs[0], "RepoTags": [name], "Layers": blobs[1:]}


def _json(archive: tarfile.TarFile, name: str) -> Any:
    file = archive.extractfile(name)
    return json.load(file) if file is not None else None


def _blob(descriptor: dict[str, Any]) -> str:
    return "blobs/" + str(descriptor["digest"]).replace(":", "/")


def _unmount(folder: Path) -> None:
    """What a daemon that was killed has left mounted, the innermost first."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
