"""What a script needs before it runs: pip requirements and system packages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from airflow_script_provider.kube.causes.patterns import compiled_later
from airflow_script_provider.kube.labels import PACKAGES_VOLUME, SCRIPT_FOLDER
from airflow_script_provider.kube.request.interpreters import Interpreter

REQUIREMENTS_VARIABLE = "AIRFLOW_SCRIPT_REQUIREMENTS"
PACKAGES_VARIABLE = "AIRFLOW_SCRIPT_PACKAGES"
PERMANENT = 97
"""Exit code of an installation that would fail in the same way again."""


_INSTALLERS = ("install_dependencies.py", "prelude.sh")
TARGET = "/airflow-packages"
TOOLS = ".airflow"
"""Folder beside the script, for what prepares it."""
MESSAGE_PREFIX = "airflow-script: "
"""The start of a termination message of the prelude. A script's message has no such start."""

_PACKAGE = compiled_later(r"[A-Za-z0-9][A-Za-z0-9.+_:=~@/^*-]*")
_NAME_OF_SHELL = compiled_later(r"[A-Za-z_][A-Za-z0-9_]*")
_CAUSE = compiled_later(r'(?P<what>could not install(?: packages)?(?: "[A-Za-z0-9._-]+")?)(?: ".*")?: (?P<why>.+)')
_FILE_OPTION = compiled_later(r"(-r|-c|--requirement|--constraint)[ =]\s*(\S+)")


@dataclass(frozen=True)
class Provision:
    """Requirements (lines of a pip requirements file) and packages (names), both checked."""

    requirements: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    @classmethod
    def of(cls, dependencies: Sequence[str] | None, packages: Sequence[str] | None) -> Provision:
        """Check and collect the values. ``ValueError`` names the argument."""
        requirements = _strings(dependencies, "install_dependencies")
        names = _strings(packages, "install_packages")
        for name in names:
            if not _PACKAGE.fullmatch(name):
                raise ValueError(f"install_packages contains {name!r}, which is not the name of a package")
        return cls(tuple(_with_folder(line) for line in requirements), names)

    @property
    def needs_prelude(self) -> bool:
        """Whether the script's container has something to do before the interpreter."""
        return bool(self.requirements or self.packages)

    def secret_variables(self) -> dict[str, str]:
        """The requirements, for the Secret: their URLs may contain credentials."""
        return {REQUIREMENTS_VARIABLE: "\n".join(self.requirements)} if self.requirements else {}

    def tools(self) -> dict[str, str]:
        """Programs to mount beside the script, by path."""
        tools = {f"{TOOLS}/prelude.sh": program("prelude.sh")} if self.needs_prelude else {}
        if self.requirements:
            tools[f"{TOOLS}/install.py"] = program("install_dependencies.py")
        return tools

    def prelude(self) -> list[str]:
        """The words before the interpreter in the container's command."""
        return ["sh", f"{SCRIPT_FOLDER}/{TOOLS}/prelude.sh"] if self.needs_prelude else []

    def restoring(self, variables: Iterable[str]) -> list[str]:
        """The words after the prelude that set variables again which a shell drops.

        dash passes on only variables whose names are a shell's. Kubernetes expands the values.
        """
        dropped = [name for name in variables if not _NAME_OF_SHELL.fullmatch(name)]
        return ["env", "--", *(f"{name}=$({name})" for name in dropped)] if self.needs_prelude and dropped else []

    def script_environment(self, mark: str) -> list[dict[str, str]]:
        """Variables for the prelude, which unsets them.

        The prelude prints ``mark`` in its last line. The script's lines follow.
        """
        values = {}
        if self.packages:
            values = {PACKAGES_VARIABLE: " ".join(self.packages), "AIRFLOW_SCRIPT_MARK": mark}
        if self.requirements:
            values["AIRFLOW_SCRIPT_TARGET"] = TARGET
        return [{"name": name, "value": value} for name, value in values.items()]

    def install_command(self, interpreter: Interpreter) -> list[str]:
        """The init container's command, by the Python that runs the script, or ``python3``."""
        python = interpreter.argv[0] if interpreter.program == "python" and interpreter.argv[0] != "env" else "python3"
        return [python, "-u", f"{SCRIPT_FOLDER}/{TOOLS}/install.py"]

    def volumes(self) -> list[dict[str, Any]]:
        """The folder that the requirements are installed into."""
        return [{"name": PACKAGES_VOLUME, "emptyDir": {}}] if self.requirements else []

    def mounts(self) -> list[dict[str, Any]]:
        """The mount of the folder of packages, the same in both containers."""
        return [{"name": PACKAGES_VOLUME, "mountPath": TARGET}] if self.requirements else []


@cache
def program(name: str) -> str:
    """The text of a program that runs in the container."""
    return (files("airflow_script_provider.in_container") / name).read_text(encoding="utf-8")


def install_failure(message: str) -> str | None:
    """The cause in the prelude's termination message, None if the message is the script's."""
    return message.removeprefix(MESSAGE_PREFIX) if message.startswith(MESSAGE_PREFIX) else None


def cause_in_our_words(message: str) -> str:
    """What of an installation's message the installing programs say themselves.

    The rest may quote a value of the environment. A package's name stays.
    """
    found = _CAUSE.fullmatch(message)
    if found is None:
        return "could not install"
    is_ours = any(found["why"] + quote in program(name) for name in _INSTALLERS for quote in "\"'")
    return f"{found['what']}: {found['why']}" if is_ours else found["what"]


def _with_folder(line: str) -> str:
    """The line with the script's folder before a file of ``files``: ``-r more.txt``."""
    found = _FILE_OPTION.fullmatch(line)
    if not found or found[2].startswith("/") or "://" in found[2]:
        return line
    return f"{found[1]} {SCRIPT_FOLDER}/{found[2]}"


def _strings(values: Any, argument: str) -> tuple[str, ...]:
    if values is None:
        return ()
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence):
        raise ValueError(f"{argument} must be a list of strings, not {type(values).__name__}")
    for value in values:
        if not isinstance(value, str) or not value.strip() or "\n" in value:
            raise ValueError(f"{argument} contains {value!r}; each string must be one requirement or package")
    return tuple(value.strip() for value in values)
