"""Writes OCI image archives, the format that `ctr images import` reads."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class BuiltImage:
    """An image; its layers are uncompressed tar files, lowest first."""

    name: str
    layers: Sequence[Path]
    config: Mapping[str, Any]


@dataclass
class Archive:
    """An archive during its writing; a layer that several images share is stored once."""

    tar: tarfile.TarFile
    descriptors: dict[Path, dict[str, Any]] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)

    def add_bytes(self, content: bytes, media_type: str) -> dict[str, Any]:
        """Store a blob and return its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        if digest not in self.stored:
            self.stored.add(digest)
            add_file(self.tar, f"blobs/sha256/{digest}", content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def add_layer(self, path: Path) -> dict[str, Any]:
        """Store a layer and return its descriptor."""
        if path not in self.descriptors:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            self.tar.add(path, arcname=f"blobs/sha256/{digest}")
            self.descriptors[path] = {
                "mediaType": LAYER_TYPE,
                "digest": f"sha256:{digest}",
                "size": path.stat().st_size,
            }
        return self.descriptors[path]

    def add_image(self, image: BuiltImage) -> dict[str, Any]:
        """Store an image and return the descriptor of its manifest."""
        layers = [self.add_layer(layer) for layer in image.layers]
        config = {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": image.config,
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": self.add_bytes(_json(config), CONFIG_TYPE),
            "layers": layers,
        }
        annotations = {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name}
        return {**self.add_bytes(_json(manifest), MANIFEST_TYPE), "annotations": annotations}


def add_file(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    """Add a regular file that root owns; its time is 0, so equal content makes equal archives."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = mode
    tar.addfile(entry, io.BytesIO(content))


def add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    """Add a symbolic link."""
    entry = tarfile.TarInfo(name)
    entry.type = tarfile.SYMTYPE
    entry.linkname = target
    tar.addfile(entry)


def write_archive(path: Path, images: Sequence[BuiltImage]) -> None:
    """Write one archive that holds all images."""
    with tarfile.open(path, "w") as tar:
        archive = Archive(tar)
        manifests = [archive.add_image(image) for image in images]
        add_file(tar, "index.json", _json({"schemaVersion": 2, "manifests": manifests}))
        add_file(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
