"""Install pip requirements into a folder, and say in one line what could not be installed.

Runs in the container ``install`` with the image's own Python (3.8 or newer). Exit code 97 means that another attempt
would fail in the same way.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

TARGET = os.environ["AIRFLOW_SCRIPT_TARGET"]
PERMANENT = 97
# Words of pip and uv, in lower case. A connection that fails also ends in "no matching distribution".
_CONNECTION = (
    "retrying (", "connection refused", "connection reset", "connection broken", "connection aborted",
    "connection error", "connectionerror", "newconnectionerror", "timed out", "temporary failure", "name resolution",
    "max retries", "http error 5", "http error 408", "http error 429", "failed to fetch", "error sending request",
    "dns error",
)  # fmt: skip
_CAUSES = (
    (r"no matching distribution found for (?P<what>[^\s(]+)", "no matching distribution"),
    (r"because (?P<what>\S+) was not found in the package registry", "no matching distribution"),
    (r"because there (?:is|are) no versions? of (?P<what>\S+)", "no matching distribution"),
    (r"invalid requirement: (?P<what>.+?)(?::|$)", "not a requirement"),
    (r"(?P<what>)do not match the hashes", "a hash does not match"),
    (r"(?P<what>)hash mismatch", "a hash does not match"),
    (r"(?P<what>)hashes are required in --require-hashes", "a requirement has no hash"),
    (r"could not open requirements file.*?: '(?P<what>[^']+)'", "no such file; pass it in files"),
    (r"(?P<what>)http error 4\d\d", "the server refuses it (see the error above)"),
    (r"(?P<what>)resolutionimpossible|(?P<what_>)conflicting dependencies", "the requirements conflict"),
    (r"(?P<what>)requires a different python", "it requires a different Python"),
    (r"(?P<what>)failed building wheel|(?P<what_>)failed to build", "a package cannot be built"),
    (r"(?P<what>)no space left on device", "no space left on device"),
)


def main() -> int:
    """Install and report; the exit code tells Kubernetes whether to try again."""
    requirements = os.path.join(os.environ.get("TMPDIR", "/tmp"), "airflow-requirements.txt")
    with open(requirements, "w") as file:
        file.write(os.environ["AIRFLOW_SCRIPT_REQUIREMENTS"] + "\n")
    os.chdir("/scripts")
    code, lines = run(command(requirements))
    if code == 0:
        return 0
    cause, is_permanent = explain(lines)
    report(cause)
    return PERMANENT if is_permanent else 1


def command(requirements: str) -> list[str]:
    """The installer's command: uv where the image has it and nothing speaks to pip, whose settings uv does not read."""
    if shutil.which("uv") and not any(name.startswith("PIP_") for name in os.environ):
        return [
            "uv",
            "pip",
            "install",
            "--no-cache",
            "--python",
            sys.executable,
            "--target",
            TARGET,
            "-r",
            requirements,
        ]
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off", "--no-cache-dir"]
    return [sys.executable, "-m", "pip", "install", *options, "--target", TARGET, "-r", requirements]


def run(words: list[str]) -> tuple[int, list[str]]:
    """Run the installer, show what it prints as it comes; exit code and lines."""
    lines = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for printed in process.stdout or ():
            line = without_login(printed)
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line.strip())
    return process.returncode, lines


def without_login(text: str) -> str:
    """The text without the logins of URLs."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)


def explain(lines: list[str]) -> tuple[str, bool]:
    """The cause in words, and whether another attempt would end the same."""
    text = "\n".join(lines).lower()
    was_connected = not any(sign in text for sign in _CONNECTION)
    if "no module named pip" in text:
        return "could not install: the image has neither pip nor uv", True
    for pattern, why in _CAUSES:
        found = re.search(pattern, text)
        if found:
            what = (found.group("what") or "").strip(" ,.'\"")
            named = f' "{what}"' if what else ""
            return f"could not install{named}: {why}", was_connected
    errors = [line for line in lines if line.lower().startswith("error")] or lines[-1:] or ["no output"]
    return f"could not install: {errors[-1][:300]}", False


def report(cause: str) -> None:
    """Leave the cause where Kubernetes reads it."""
    print(cause)
    try:
        with open("/dev/termination-log", "w") as file:
            file.write(cause)
    except OSError:
        pass


if __name__ == "__main__":
    sys.exit(main())
