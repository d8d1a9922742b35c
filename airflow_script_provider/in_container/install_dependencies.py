"""Install pip requirements into a folder, and report in one line what could not be installed.

This program runs in the container ``install`` with the image's Python (3.8 or newer). Exit code 97
means that another attempt would fail in the same way.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping

TARGET = os.environ["AIRFLOW_SCRIPT_TARGET"]
PERMANENT = 97
# Messages of pip and uv, in lower case. A failed connection also ends in "no matching
# distribution".
_CONNECTION = (
    "retrying (", "connection refused", "connection reset", "connection broken", "connection aborted",
    "connection error", "connectionerror", "newconnectionerror", "timed out", "temporary failure", "name resolution",
    "max retries", "http error 5", "http error 408", "http error 429", " server error", "408 client error",
    "429 client error", "request failed after", "error sending request", "are you offline", "dns error",
    "status client error (408", "status client error (429",
)  # fmt: skip
# Settings of pip that neither change the packages nor their index.
_HARMLESS_SETTINGS = {
    f"PIP_{name}"
    for name in (
        "BREAK_SYSTEM_PACKAGES", "CACHE_DIR", "DEFAULT_TIMEOUT", "DISABLE_PIP_VERSION_CHECK", "DRY_RUN",
        "NO_CACHE_DIR", "NO_COLOR", "NO_INPUT", "NO_PYTHON_VERSION_WARNING", "NO_USER", "NO_WARN_SCRIPT_LOCATION",
        "PREFIX", "PROGRESS_BAR", "PYTHON", "QUIET", "REQUIRE_VENV", "REQUIRE_VIRTUALENV", "RETRIES", "ROOT",
        "ROOT_USER_ACTION", "TARGET", "TIMEOUT", "USER", "VERBOSE",
    )
}  # fmt: skip
# Settings that would install into another place, for another Python, or nothing at all.
_DROPPED = ("PIP_NO_USER", "PIP_PREFIX", "PIP_PYTHON", "PIP_REQUIRE_VENV", "PIP_TARGET")
# These win over the same settings in a pip.conf or uv.toml.
_FIXED = {
    "PIP_USER": "0",
    "PIP_REQUIRE_VIRTUALENV": "0",
    "PIP_DRY_RUN": "0",
    "PIP_ROOT": "/",
    "UV_LINK_MODE": "copy",  # links would lead into the cache, which is not kept
}
_PIP_CONF = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf", "~/.config/pip/pip.conf", "~/.pip/pip.conf")
_INDEX_OF_UV = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE")
_DENIED = "the index denies access (see the error above); check its credentials"
_CAUSES = (
    (r"(?P<what>)could not fetch url \S+ 40[13] client error", _DENIED),
    (r"(?P<what>)lack of valid authentication credentials|(?P<what_>)returned a 403 forbidden", _DENIED),
    (r"no matching distribution found for (?P<what>[^\s(]+)", "no matching distribution"),
    (r"because (?P<what>\S+) was not found in the package registry", "no matching distribution"),
    (r"because there (?:is|are) no versions? of (?P<what>\S+)", "no matching distribution"),
    (r"invalid requirement: (?P<what>.+?)(?::|$)", "not a requirement"),
    (r"(?P<what>)couldn't parse requirement", "not a requirement (see the error above)"),
    (r"(?P<what>)do not match the hashes", "a hash does not match"),
    (r"(?P<what>)hash mismatch", "a hash does not match"),
    (r"(?P<what>)hashes are required in --require-hashes", "a requirement has no hash"),
    (r"(?P<what>)all requirements must have a hash", "a requirement has no hash"),
    (r"could not open requirements file.*?: '(?P<what>[^']+)'", "no such file; pass it in files"),
    (r"failed to read from file `(?P<what>[^`]+)`: no such file", "no such file; pass it in files"),
    (r"(?P<what>)http error 4\d\d|(?P<what_>)status client error", "the server refuses it (see the error above)"),
    (r"(?P<what>)resolutionimpossible|(?P<what_>)conflicting dependencies", "the requirements conflict"),
    (r"(?P<what>)requirements are unsatisfiable", "the requirements conflict"),
    (r"(?P<what>)requires a different python", "it requires a different Python"),
    (r"(?P<what>)failed building wheel|(?P<what_>)failed to build", "a package cannot be built"),
    (r"(?P<what>)no space left on device", "no space left on device"),
    (
        r"(?P<what>)can not combine|(?P<what_>)cannot set --home|(?P<what__>)could not find an activated virtualenv",
        "a setting of pip does not allow --target (see the error above); remove it from env or pip.conf",
    ),
)


def main() -> int:
    """Install and report; the exit code decides whether Kubernetes starts another attempt."""
    os.chdir("/scripts")
    # The script may share the folder for temporary files, and both files may hold logins.
    with tempfile.TemporaryDirectory() as folder:
        requirements, log = os.path.join(folder, "requirements.txt"), os.path.join(folder, "pip.log")
        with open(requirements, "w") as file:
            file.write(os.environ["AIRFLOW_SCRIPT_REQUIREMENTS"] + "\n")
        code, lines = run(command(requirements, log))
        if code == 0:
            return 0
        cause, is_permanent = explain(lines + refusals_in(log))
    report(cause)
    return PERMANENT if is_permanent else 1


def command(requirements: str, log: str) -> list[str]:
    """The installer's command: uv if the image has it, pip if only pip has an index set."""
    what = ["--target", TARGET, "-r", requirements]
    if shutil.which("uv") and not setting_of_pip():
        return ["uv", "pip", "install", "--no-cache", "--python", sys.executable, *what]
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--no-cache-dir", "--log", log]
    # Only here, an empty prefix wins over that of a pip.conf.
    return [sys.executable, "-m", "pip", "install", *options, "--prefix=", *what]


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The installer's environment, without settings that contradict the folder."""
    return {**{name: value for name, value in environ.items() if name not in _DROPPED}, **_FIXED}


def setting_of_pip() -> str | None:
    """The setting or file that may give pip an index, None if uv has an index of its own.

    uv ignores pip's settings. It would look for a company's package in the public index, where a
    stranger may have published a package of that name.
    """
    if any(name in os.environ for name in _INDEX_OF_UV):
        return None
    files = [os.path.expanduser(path) for path in (*_PIP_CONF, os.path.join(sys.prefix, "pip.conf"))]
    names = [name for name in sorted(os.environ) if name.startswith("PIP_") and name not in _HARMLESS_SETTINGS]
    return next((found for found in (*names, *filter(os.path.exists, files))), None)


def run(words: list[str]) -> tuple[int, list[str]]:
    """Run the installer, and print its output at once; return exit code and lines."""
    lines = []
    with subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env=settings(os.environ),
    ) as process:
        for printed in process.stdout or ():
            line = without_login(printed)
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line.strip())
    return process.returncode, lines


def refusals_in(log: str) -> list[str]:
    """The errors that an index answered with.

    pip writes them only to its log, and prints "no matching distribution".
    """
    if not os.path.exists(log):
        return []
    with open(log, errors="replace") as file:
        found = [without_login(line).strip() for line in file if "Could not fetch URL" in line]
    # An index also answers 404 for every package that it does not have.
    lines = [line for line in found if " 404 " not in line]
    print(*lines, sep="\n", end="\n" if lines else "")
    return lines


def without_login(text: str) -> str:
    """The text without the logins of URLs, even if a password contains an ``@``."""
    return re.sub(r"//[^/\s]+@", "//***@", text)


def explain(lines: list[str]) -> tuple[str, bool]:
    """The cause in words, and whether another attempt would fail in the same way."""
    text = "\n".join(lines).lower()
    was_connected = not any(sign in text for sign in _CONNECTION)
    if "no module named pip" in text:
        return f"could not install: {without_pip()}", True
    for pattern, why in _CAUSES:
        # Older versions of uv wrap lines.
        found = re.search(pattern, text) or re.search(pattern, " ".join(text.split()))
        if found:
            what = (found.group("what") or "").strip(" ,.'\"")
            named = f' "{what}"' if what else ""
            return f"could not install{named}: {why}", was_connected
    errors = [line for line in lines if line.lower().startswith("error")] or lines[-1:] or ["no output"]
    return f"could not install: {errors[-1][:300]}", False


def without_pip() -> str:
    """Why nothing was installed in an image without pip."""
    if not shutil.which("uv"):
        return "the image has neither pip nor uv"
    return f"the image has uv but no pip, and uv ignores {setting_of_pip()}; set UV_DEFAULT_INDEX"


def report(cause: str) -> None:
    """Write the cause where Kubernetes reads it."""
    print(cause)
    try:
        with open("/dev/termination-log", "w") as file:
            file.write(cause)
    except OSError:
        pass


if __name__ == "__main__":
    sys.exit(main())
