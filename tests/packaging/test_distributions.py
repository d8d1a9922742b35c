"""What stands in the wheel and in the source distribution."""

from __future__ import annotations

import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from airflow_script_provider import __version__
from tests.packaging.conftest import ROOT, Distributions, build

PACKAGE = ROOT / "airflow_script_provider"


def names_in(wheel: Path) -> set[str]:
    """The paths of all files."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def text_in(wheel: Path, name: str) -> str:
    """A file beside the package, in the folder of its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"airflow_script_provider-{__version__}.dist-info/{name}").decode()


@pytest.fixture(scope="session")
def metadata(distributions: Distributions) -> Message:
    """What a package index shows, and installers read."""
    return Parser().parsestr(text_in(distributions.wheel, "METADATA"))


def test_the_wheel_is_the_package(distributions: Distributions) -> None:
    """Every file of the package, the scripts that run in containers and ``py.typed`` too, and nothing of the tests."""
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    found = {name for name in names_in(distributions.wheel) if ".dist-info/" not in name}
    assert found == {str(path.relative_to(ROOT)) for path in files}
    assert {"airflow_script_provider/py.typed", "airflow_script_provider/in_container/prelude.sh"} <= found


def test_the_sdist_has_what_a_build_needs(distributions: Distributions) -> None:
    """Package, licence, the texts that the metadata has, and no more."""
    with tarfile.open(distributions.sdist) as archive:
        parts = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    texts = {"README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml", "PKG-INFO", ".gitignore"}
    assert parts == {"airflow_script_provider", *texts}


def test_the_sdist_builds_the_same_wheel(distributions: Distributions, tmp_path: Path) -> None:
    """Byte for byte: the one of the source distribution and the one of the source tree."""
    build(tmp_path, "--wheel")
    assert (tmp_path / distributions.wheel.name).read_bytes() == distributions.wheel.read_bytes()


def test_the_licence_is_named_as_spdx_does(metadata: Message, distributions: Distributions) -> None:
    """And its text is with it."""
    assert (metadata["License-Expression"], metadata["License-File"]) == ("Apache-2.0", "LICENSE")
    assert text_in(distributions.wheel, "licenses/LICENSE") == (ROOT / "LICENSE").read_text()


def test_the_classifiers_say_what_it_is_for(metadata: Message) -> None:
    """Airflow lists providers by the first; the Pythons are those of ``requires-python``."""
    classifiers = metadata.get_all("Classifier", [])
    assert "Framework :: Apache Airflow :: Provider" in classifiers
    assert "Typing :: Typed" in classifiers
    assert not [name for name in classifiers if name.startswith("License ::")]  # SPDX says it
    assert metadata["Requires-Python"] == ">=3.11"


def test_the_version_of_the_metadata_is_one_that_uploads_take(metadata: Message) -> None:
    """The newest that every tool between here and a package index is known to read."""
    assert metadata["Metadata-Version"] == "2.4"


def test_all_is_the_sum_of_the_extras(metadata: Message) -> None:
    """Whoever installs ``all`` lacks nothing."""
    assert set(metadata.get_all("Provides-Extra", [])) == {"http", "s3", "gcs", "cli", "all"}
    wanted = [line.split("; extra == ") for line in metadata.get_all("Requires-Dist", []) if "extra ==" in line]
    of_all = {name for name, extra in wanted if "all" in extra}
    assert of_all == {name for name, extra in wanted if "all" not in extra}


def test_airflow_and_the_shell_find_it(distributions: Distributions) -> None:
    """By its entry points, as pyproject.toml has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    entry_points = text_in(distributions.wheel, "entry_points.txt")
    assert f"provider_info = {project['entry-points']['apache_airflow_provider']['provider_info']}" in entry_points
    assert f"airflow-script = {project['scripts']['airflow-script']}" in entry_points
