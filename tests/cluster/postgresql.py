"""A PostgreSQL of a test's own, from Debian's packages: a folder, a unix socket in it, no port."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.patience import wait_for

USER = "postgres"
"""Who runs it if the test is root, which PostgreSQL refuses: the user that comes with Debian's package."""
_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "listen_addresses": "",
    "autovacuum": "off",
}


def url(folder: Path) -> str:
    """The address of the database that ``start`` makes in a folder."""
    return f"postgresql+psycopg://{USER}@/postgres?host={folder}"


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Make a database in an empty folder and serve it."""
    programs = _programs()
    options = " ".join(f"-c {name}={value!r}" for name, value in _SETTINGS.items())
    script = (
        f"{programs}/initdb -D data -U {USER} -A trust -E UTF8 --locale=C --no-sync --no-instructions >&2 && "
        f"exec {programs}/postgres -D data -k {folder} {options}"
    )
    user: dict[str, str | list[str]] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
        user = {"user": USER, "group": USER, "extra_groups": []}
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(["sh", "-c", script], cwd=folder, stdout=log, stderr=log, **user)  # type: ignore[call-overload,no-any-return]  # mypy does not look into **


def wait_until_ready(folder: Path, server: subprocess.Popen[bytes]) -> None:
    """Return as soon as it answers."""
    command = [f"{_programs()}/pg_isready", "-q", "-h", str(folder)]

    def answers() -> bool:
        if server.poll() is not None:
            raise RuntimeError(f"PostgreSQL did not start: {(folder / 'log').read_text()}")
        return subprocess.run(command, check=False).returncode == 0

    wait_for(answers, f"PostgreSQL ({folder}/log)")


def query(folder: Path, statement: str, *values: Any) -> list[Any]:
    """Run a statement on the database; the only column of what it selects."""
    import psycopg

    with psycopg.connect(host=str(folder), user=USER, dbname="postgres") as connection:
        found = connection.execute(statement, values)
        return [row[0] for row in found.fetchall()] if found.description else []


def _programs() -> Path:
    """The folder of the newest server that is installed; Debian keeps it off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    raise RuntimeError("PostgreSQL is missing: dev/postgresql installs it (make test does so)")
