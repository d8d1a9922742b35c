"""The distributions, built once, and environments that have nothing but the wheel and what it asks for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
LOCKED = ROOT / "requirements" / "dev.txt"


@dataclass(frozen=True)
class Distributions:
    """What a release consists of."""

    wheel: Path
    sdist: Path


@dataclass(frozen=True)
class Installation:
    """A virtual environment with the wheel; its programs run in a folder of their own and know no source tree."""

    programs: Path
    home: Path

    def run(
        self, program: str, *words: str, check: bool = True, settings: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one of the environment's programs with these environment variables; its output is text."""
        done = subprocess.run(
            [self.programs / program, *words],
            cwd=self.home,
            env=self._environment() | dict(settings or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        if check and done.returncode:
            raise AssertionError(f"{program} {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done

    def _environment(self) -> dict[str, str]:
        ours = ("PYTHON", "AIRFLOW", "VIRTUAL_ENV", "PYTEST", "COVERAGE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return kept | {
            "PATH": f"{self.programs}:{os.defpath}",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        }


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """Source distribution, and the wheel that is built of it, as ``make dist`` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    build(folder)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Distributions(wheel, sdist)


@pytest.fixture(scope="session")
def installed(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel without extras."""
    return install(str(distributions.wheel), tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="session")
def with_cli(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel with the extra ``cli``."""
    return install(f"{distributions.wheel}[cli]", tmp_path_factory.mktemp("with_cli"))


def build(folder: Path, *options: str) -> None:
    """Build into a folder with the locked build backend: nothing is downloaded."""
    backend = ("--no-build-isolation", "--offline", "--python", sys.executable)
    _uv("build", *backend, *options, "-o", str(folder), str(ROOT))


def install(requirement: str, folder: Path) -> Installation:
    """An environment with this requirement; the locked versions are taken of what it asks for."""
    environment = folder / "environment"
    _uv("venv", "--python", sys.executable, str(environment))
    _uv("pip", "install", "--python", str(environment), "-c", str(LOCKED), requirement)
    home = folder / "home"
    home.mkdir()
    return Installation(environment / "bin", home)


def _uv(*words: str) -> None:
    done = subprocess.run([UV, "--quiet", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"uv {' '.join(words)}: {done.stderr}")
