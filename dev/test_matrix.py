"""Run unit and contract tests, and two DAGs on the cluster, with other versions of Airflow and its Kubernetes provider.

    python dev/test_matrix.py [ROW ...]

Each row has a virtual environment of its own, with the wheel, in ``~/.cache/airflow-script-provider/matrix``; its logs
stay there, the environment goes when all of its tests have passed. Prints a line for each row, goes on after one that
failed, and ends with 1 if any did.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = Path(sys.executable).with_name("uv")
MATRIX = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "airflow-script-provider" / "matrix"
TESTS = ("tests/unit", "tests/contract")
DAGS = ("example_basic", "example_deferrable")
OLD_EMULATOR = "setuptools<81"
"""What the stand-in for Google Cloud Storage imports in its releases of then."""
SHOWN = {
    "Airflow": "apache-airflow",
    "task-sdk": "apache-airflow-task-sdk",
    "cncf.kubernetes": "apache-airflow-providers-cncf-kubernetes",
    "aiohttp": "aiohttp",
}


@dataclass(frozen=True)
class Row:
    """What is installed: these requirements, and nothing that is newer than this day; None for the newest."""

    requirements: tuple[str, ...]
    until: str | None = None


ROWS = {
    "airflow-3.1": Row(("apache-airflow==3.1.8",)),
    "airflow-3.2": Row(("apache-airflow==3.2.2", OLD_EMULATOR), until="2026-06-15"),
    "airflow-3.3": Row(("apache-airflow==3.3.2",)),
    "oldest": Row(("apache-airflow==3.1.8", "apache-airflow-providers-cncf-kubernetes==10.9.0")),
}


class StepError(Exception):
    """A step of a row failed; its log is named."""


@dataclass(frozen=True)
class Bench:
    """Where a row is tried."""

    folder: Path

    @property
    def python(self) -> Path:
        """The environment's Python."""
        return self.folder / "environment" / "bin" / "python"

    def run(self, step: str, command: Sequence[str | Path], **settings: str) -> str:
        """Run a command in the checkout, with a log named after the step; what it printed."""
        log = self.folder / f"{step}.log"
        environment = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
        environment["PATH"] = f"{self.python.parent}:{environment['PATH']}"
        with log.open("w") as output:
            done = subprocess.run(
                command, cwd=ROOT, env=environment | settings, stdout=output, stderr=subprocess.STDOUT, check=False
            )
        if done.returncode:
            raise StepError(f"{step} failed: {log}")
        return log.read_text()


def main(names: Sequence[str]) -> int:
    """Try these rows, or all."""
    if unknown := set(names) - set(ROWS):
        print(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    are_fine = [tried(name, ROWS[name]) for name in names or ROWS]
    return 0 if all(are_fine) else 1


def tried(name: str, row: Row) -> bool:
    """Try a row and print its line."""
    begun = time.monotonic()
    bench = Bench(MATRIX / name)
    shutil.rmtree(bench.folder, ignore_errors=True)
    bench.folder.mkdir(parents=True)
    versions = ""
    try:
        install(bench, row)
        versions = installed_versions(bench)
        outcome = f"{tests(bench)}; {dags(bench)}"
    except StepError as error:
        print(f"{name}: FAILED: {versions}: {error}", flush=True)
        return False
    shutil.rmtree(bench.python.parents[1])
    print(f"{name}: {versions}: {outcome} ({time.monotonic() - begun:.0f} s)", flush=True)
    return True


def install(bench: Bench, row: Row) -> None:
    """The wheel of this checkout, the row's requirements, and what the tests import, resolved together."""
    build = ("build", "--wheel", "--no-build-isolation", "--offline", "--python", sys.executable)
    bench.run("build", [UV, *build, "-o", bench.folder, ROOT])
    bench.run("venv", [UV, "venv", "--python", sys.executable, bench.python.parents[1]])
    dated = ("--exclude-newer", row.until) if row.until else ()
    (wheel,) = bench.folder.glob("*.whl")
    command = [UV, "pip", "install", "--python", bench.python, *dated, "--group", "test", *row.requirements, wheel]
    bench.run("install", command)


def installed_versions(bench: Bench) -> str:
    """What is installed, in words."""
    frozen = bench.run("freeze", [UV, "pip", "freeze", "--python", bench.python]).lower().replace("-", "_")
    found = dict(line.split("==") for line in frozen.splitlines() if "==" in line)
    named = [f"{name} {found[package.replace('-', '_')]}" for name, package in SHOWN.items()]
    return ", ".join([*named, f"Python {sys.version.split()[0]}"])


def tests(bench: Bench) -> str:
    """Run unit and contract tests; return pytest's last line. Warnings of other versions are not errors."""
    pytest = [str(bench.python), "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "-W", "default"]
    printed = bench.run("tests", [*pytest, *TESTS])
    return printed.strip().splitlines()[-1].strip("= ")


def dags(bench: Bench) -> str:
    """A plain and a deferrable task on the cluster."""
    with tempfile.TemporaryDirectory() as home:
        settings = {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "example_dags"),
            "KUBECONFIG": os.environ.get("KUBECONFIG") or str(ROOT / ".cluster" / "kubeconfig"),
        }
        airflow = [bench.python.with_name("airflow")]
        bench.run("migrate", [*airflow, "db", "migrate"], **settings)
        for dag in DAGS:
            printed = bench.run(dag, [*airflow, "dags", "test", dag], **settings)
            if "state=success" not in printed and "state:success" not in printed:
                raise StepError(f"{dag} did not succeed: {bench.folder / dag}.log")
    return f"{', '.join(DAGS)} ran"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
