"""Run the tests with other versions: of Python, Airflow and other packages, of Kubernetes and containerd.

    python dev/test_matrix.py [ROW ...]

A row of packages has a virtual environment of its own, with the wheel: tests run in it, and two DAGs on the cluster of
the checkout. A row of Kubernetes has a cluster of its own, on which the cluster tests run. Prints a line for each row,
writes it into ``docs/reference/versions.md``, goes on after one that failed, and ends with 1 if any did. Without names,
the rows that passed at the same commit are left out. The logs are in ``~/.cache/airflow-script-provider/matrix``.
"""

from __future__ import annotations

import datetime
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")
MATRIX = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airflow-script-provider" / "matrix"
PAGE = ROOT / "docs" / "reference" / "versions.md"
PURE = ("tests/unit", "tests/contract")
SOURCES = ("tests/unit/sources",)
STORES = ("minio", "fake-gcs-server")
DAGS = ("example_basic", "example_deferrable")
WHOLE = ("tests/cluster",)
TENTH = tuple(
    f"tests/cluster/test_{subject}.py"
    for subject in ("result", "bytes", "attempts", "failures", "trigger", "exec", "nodes", "both_ways")
)
"""Of each subject what depends most on Kubernetes: ends of pods and Jobs, logs, watches, websockets."""
BUT_OF_3_3 = (
    *("--deselect", "tests/cluster/test_ui_on_airflow.py"),
    *("--deselect", "tests/cluster/test_on_airflow.py::test_a_worker_that_is_told_to_end[supervisor]"),
)
"""The web interface of Airflow 3.1 has other pages: the tests read those of 3.3. The supervisor of a
task is a worker of its LocalExecutor, which takes no notice of SIGTERM."""
JOBS = os.environ.get("JOBS", "4")
MODELS = (
    "tests/unit/kube/test_client_models.py",
    "tests/unit/hooks/test_digests.py",
    "tests/cluster/test_arguments.py::test_volumes_resources_and_models",
)
"""The tests that hand over models of the Kubernetes client."""
OLD_EMULATOR = "setuptools<81"
"""What the stand-in for Google Cloud Storage imports in its releases of then."""
SHOWN = {
    "Airflow": "apache-airflow",
    "task-sdk": "apache-airflow-task-sdk",
    "cncf.kubernetes": "apache-airflow-providers-cncf-kubernetes",
    "kubernetes": "kubernetes",
    "aiohttp": "aiohttp",
}


class StepError(Exception):
    """A step of a row failed; its log is named. ``outcome`` is what it printed last."""

    def __init__(self, step: str, log: Path) -> None:
        super().__init__(f"{step} failed: {log}")
        self.outcome = (log.read_text().strip().splitlines() or [""])[-1].strip("= ")


@dataclass(frozen=True)
class Bench:
    """Where a row is tried."""

    folder: Path

    def run(self, step: str, command: Sequence[str | Path], **settings: str) -> str:
        """Run a command in the checkout, with a log named after the step; what it printed."""
        log = self.folder / f"{step}.log"
        environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
        environment["PATH"] = f"{Path(command[0]).parent}:{environment['PATH']}"
        with log.open("w") as output:
            done = subprocess.run(
                command, cwd=ROOT, env=environment | settings, stdout=output, stderr=subprocess.STDOUT, check=False
            )
        if done.returncode:
            raise StepError(step, log)
        return log.read_text()

    def pytest(self, python: str | Path, *words: str, **settings: str) -> str:
        """Run tests; pytest's last line. Warnings of other versions are not errors."""
        shared_out = ("-m", "not nightly", "-n", JOBS, "--dist", "loadfile", "--no-loadscope-reorder")
        command = [python, "-m", "pytest", "-v", "-p", "no:cacheprovider", *shared_out, "-W", "default", *words]
        return self.run("tests", command, **settings).strip().splitlines()[-1].strip("= ")


@dataclass(frozen=True)
class Packages:
    """What is installed: these requirements, and nothing that is newer than this day; None for the newest.

    ``is_lowest`` takes the lowest versions that the package requires. ``python`` is its version.
    ``despite`` are versions that another package does not allow.
    """

    requirements: tuple[str, ...] = ()
    tests: tuple[str, ...] = PURE
    python: str = f"{sys.version_info[0]}.{sys.version_info[1]}"
    until: str | None = None
    is_lowest: bool = False
    despite: tuple[str, ...] = ()

    def tried(self, bench: Bench) -> tuple[str, str]:
        """The versions, and the outcome."""
        python = bench.folder / "environment" / "bin" / "python"
        self._install(bench, python)
        outcome = f"{bench.pytest(python, *self.tests)}; {dags(bench, python)}"
        versions = installed_versions(bench, python)
        shutil.rmtree(python.parents[1])
        return versions, outcome

    def _install(self, bench: Bench, python: Path) -> None:
        """The wheel of this checkout, the requirements, and what the tests import, resolved together."""
        build = ("build", "--wheel", "--no-build-isolation", "--offline", "--python", sys.executable)
        bench.run("build", [UV, *build, "-o", bench.folder, ROOT])
        # The commands of pyenv, which uv tries, run no version but the one that is chosen.
        bench.run("venv", [UV, "venv", "--python", self.python, python.parents[1]], PYENV_VERSION=self.python)
        dated = ("--exclude-newer", self.until) if self.until else ()
        lowest = ("-c", self._lowest(bench)) if self.is_lowest else ()
        (wheel,) = bench.folder.glob("*.whl")
        command = [UV, "pip", "install", "--compile-bytecode", "--python", python, *dated, *lowest]
        bench.run("install", [*command, "--group", "matrix", *self.requirements, f"{wheel}[all]"])
        if self.despite:
            bench.run("install-despite", [UV, "pip", "install", "--python", python, *self.despite])

    def _lowest(self, bench: Bench) -> Path:
        """The lowest versions of what the package itself requires, as constraints."""
        resolved = bench.folder / "resolved.txt"
        words = ("--no-header", "--no-annotate", "--all-extras", "--resolution=lowest-direct", "-o", resolved)
        bench.run("resolve", [UV, "pip", "compile", "pyproject.toml", "--python-version", self.python, *words])
        own = {canonicalize_name(requirement.name) for requirement in requirements()}
        lines = [line for line in resolved.read_text().splitlines() if line.partition("==")[0] in own]
        constraints = bench.folder / "lowest.txt"
        constraints.write_text("\n".join(lines) + "\n")
        return constraints


@dataclass(frozen=True)
class Cluster:
    """The cluster tests of this checkout on Kubernetes and containerd of these versions."""

    kubernetes: str
    containerd: str = "debian"
    tests: tuple[str, ...] = WHOLE

    def tried(self, bench: Bench) -> tuple[str, str]:
        """The versions, and the outcome."""
        with cluster(bench, self.kubernetes, self.containerd) as kubeconfig:
            versions = (kubeconfig.parent / "started").read_text().strip()
            return versions, bench.pytest(sys.executable, *self.tests, KUBECONFIG=str(kubeconfig))


@dataclass(frozen=True)
class Stores:
    """The tests of sources with MinIO and fake-gcs-server in the place of the servers that are written in Python."""

    def tried(self, bench: Bench) -> tuple[str, str]:
        """The versions, and the outcome."""
        printed = bench.run("build", [sys.executable, ROOT / "dev" / "stores"])
        programs = dict(line.split() for line in printed.splitlines() if line.startswith(STORES))
        servers = {"MINIO": programs["minio"], "FAKE_GCS_SERVER": programs["fake-gcs-server"]}
        versions = [go_version(name) for name in STORES]
        return ", ".join(versions), bench.pytest(sys.executable, *SOURCES, **servers)


Row = Packages | Cluster | Stores
ROWS: dict[str, Row] = {
    "airflow-3.1": Packages(("apache-airflow==3.1.8",), tests=(*PURE, *WHOLE, *BUT_OF_3_3)),
    "airflow-3.2": Packages(("apache-airflow==3.2.2", OLD_EMULATOR), tests=(*PURE, *WHOLE), until="2026-06-15"),
    "airflow-3.3": Packages(("apache-airflow==3.3.2",)),
    "lowest": Packages(("apache-airflow==3.1.8",), tests=(*PURE, *TENTH), is_lowest=True),
    "python-3.12": Packages(("apache-airflow==3.3.2",), tests=(*PURE, *TENTH), python="3.12"),
    "python-3.13": Packages(("apache-airflow==3.3.2",), tests=(*PURE, *WHOLE), python="3.13"),
    "google-hook": Packages(("apache-airflow==3.3.2", "apache-airflow-providers-google"), tests=SOURCES),
    "kubernetes-client-37": Packages(("apache-airflow==3.3.2",), tests=MODELS, despite=("kubernetes==37.0.2",)),
    "stores": Stores(),
    "kubernetes-1.31": Cluster("1.31"),
    "kubernetes-1.32": Cluster("1.32", tests=TENTH),
    "kubernetes-1.33": Cluster("1.33", tests=TENTH),
    "kubernetes-1.34": Cluster("1.34", containerd="2"),
    "kubernetes-1.35": Cluster("1.35", tests=TENTH),
    "kubernetes-1.36": Cluster("1.36", tests=TENTH),
    "kubernetes-1.37": Cluster("1.37"),
    "kubernetes-1.37-containerd-2": Cluster("1.37", containerd="2"),
}


def main(names: Sequence[str]) -> int:
    """Try these rows, or all."""
    if unknown := set(names) - set(ROWS):
        print(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    are_fine = [tried(name, ROWS[name]) for name in names or missing()]
    return 0 if all(are_fine) else 1


def missing() -> list[str]:
    """The rows that did not pass at this commit."""
    return [name for name in ROWS if not (mark := passed(name)).exists() or mark.read_text() != commit()]


def passed(name: str) -> Path:
    """The file that says at which commit a row passed."""
    return MATRIX / name / "passed"


def commit() -> str:
    """The checkout's commit."""
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def tried(name: str, row: Row) -> bool:
    """Try a row, print its line and write it down."""
    begun = time.monotonic()
    bench = Bench(MATRIX / name)
    shutil.rmtree(bench.folder, ignore_errors=True)
    bench.folder.mkdir(parents=True)
    try:
        versions, outcome = row.tried(bench)
    except StepError as error:
        print(f"{name}: FAILED: {error}", flush=True)
        PAGE.write_text(with_result(PAGE.read_text(), name, "", f"failed: {error.outcome}"))
        return False
    passed(name).write_text(commit())
    print(f"{name}: {versions}: {outcome} ({time.monotonic() - begun:.0f} s)", flush=True)
    PAGE.write_text(with_result(PAGE.read_text(), name, versions, outcome))
    return True


def with_result(page: str, name: str, versions: str, outcome: str) -> str:
    """The page with today's result of a row; its line must be there. What a step printed may be any text."""
    line = f"| `{name}` | {datetime.date.today()} | {versions} | {outcome.replace('|', '/')} |"
    row = re.compile(rf"^\| `{re.escape(name)}` (?:\|[^|\n]*){{3}}\|$", re.MULTILINE)
    changed, count = row.subn(lambda _: line, page)
    if count != 1:
        raise ValueError(f"{PAGE} has no line of the row {name}")
    return changed


def requirements() -> list[Requirement]:
    """What the package requires, with and without its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    written = [*project["dependencies"], *(one for extra in extras for one in extra)]
    return [found for one in written if (found := Requirement(one)).name != project["name"]]


def installed_versions(bench: Bench, python: Path) -> str:
    """What is installed, in words."""
    frozen = bench.run("freeze", [UV, "pip", "freeze", "--python", python]).lower().replace("-", "_")
    found = dict(line.split("==") for line in frozen.splitlines() if "==" in line)
    named = [f"{name} {found[package.replace('-', '_')]}" for name, package in SHOWN.items()]
    return ", ".join([*named, bench.run("python", [python, "--version"]).strip()])


def go_version(name: str) -> str:
    """The version of a server in its ``go.mod``, in words."""
    required = (ROOT / "dev" / "stores" / name / "go.mod").read_text()
    (version,) = re.findall(rf"/{re.escape(name)} (v\S+)", required)
    return f"{name} {version}"


def dags(bench: Bench, python: Path) -> str:
    """A plain and a deferrable task on the cluster."""
    with tempfile.TemporaryDirectory() as home:
        settings = {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "example_dags"),
            "KUBECONFIG": os.environ.get("KUBECONFIG") or str(ROOT / ".cluster" / "kubeconfig"),
        }
        airflow = [python.with_name("airflow")]
        bench.run("migrate", [*airflow, "db", "migrate"], **settings)
        for dag in DAGS:
            printed = bench.run(dag, [*airflow, "dags", "test", dag], **settings)
            if "state=success" not in printed and "state:success" not in printed:
                raise StepError(dag, bench.folder / f"{dag}.log")
    return f"{', '.join(DAGS)} ran"


@contextmanager
def cluster(bench: Bench, kubernetes: str, containerd: str) -> Iterator[Path]:
    """A cluster beside the checkout's own; its kubeconfig. A cluster belongs to the folder of its program."""
    with tempfile.TemporaryDirectory(prefix="asp-") as folder:  # short, because of the sockets below it
        program = shutil.copytree(ROOT / "dev" / "cluster", Path(folder) / "dev" / "cluster")
        try:
            versions = ("--kubernetes", kubernetes, "--containerd", containerd)
            bench.run("up", [sys.executable, program, "up", *versions])
            yield Path(folder) / ".cluster" / "kubeconfig"
        finally:
            bench.run("down", [sys.executable, program, "down"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
