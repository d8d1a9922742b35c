"""Image archives."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

from oci import BuiltImage, write_archive


def an_archive(folder: Path) -> tarfile.TarFile:
    """Two images that share their only layer."""
    layer = folder / "layer.tar"
    layer.write_bytes(b"layer")
    write_archive(folder / "images.tar", [BuiltImage(name, [layer], {"Cmd": [name]}) for name in ("one:1", "two:1")])
    return tarfile.open(folder / "images.tar")


def read(archive: tarfile.TarFile, name: str) -> bytes:
    """A file of the archive."""
    file = archive.extractfile(name)
    return file.read() if file else b""


def blob(archive: tarfile.TarFile, descriptor: dict[str, Any]) -> bytes:
    """What a descriptor points to."""
    return read(archive, "blobs/" + descriptor["digest"].replace(":", "/"))


def test_every_image_is_in_the_index(tmp_path: Path) -> None:
    """The index leads from containerd's name for an image to its layer."""
    with an_archive(tmp_path) as archive:
        manifests = json.loads(read(archive, "index.json"))["manifests"]
        assert [m["annotations"]["io.containerd.image.name"] for m in manifests] == ["one:1", "two:1"]
        manifest = json.loads(blob(archive, manifests[1]))
        assert json.loads(blob(archive, manifest["config"]))["config"] == {"Cmd": ["two:1"]}
        assert blob(archive, manifest["layers"][0]) == b"layer"


def test_a_shared_layer_is_stored_once(tmp_path: Path) -> None:
    """Its file name is the digest of its bytes."""
    with an_archive(tmp_path) as archive:
        names = archive.getnames()
    assert names.count("blobs/sha256/" + hashlib.sha256(b"layer").hexdigest()) == 1
    assert len(names) == len(set(names))


def test_equal_content_makes_equal_archives(tmp_path: Path) -> None:
    """The archive does not depend on times or on the order of files on the machine."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        an_archive(folder).close()
    indexes = []
    for folder in folders:
        with tarfile.open(folder / "images.tar") as archive:
            indexes.append(read(archive, "index.json"))
    assert indexes[0] == indexes[1]
