"""Requirements and packages are installed before the script runs, and say when they cannot be."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from airflow_script_provider.sources import FileScript, InlineScript
from tests.cluster.kubectl import Kubectl
from tests.cluster.node_folder import node_folder
from tests.cluster.tasks import run_task
from tests.patience import LONG, with_time_to_begin

SIX_WHEEL = "8abb2f1d86890a2dfb989f9a77cfcfd3e47c2a354b01111771326f8aa26e0254"
VERSION = "import six\nprint(six.__version__)"


def test_requirement_is_importable_and_its_log_is_a_group(own: dict[str, Any]) -> None:
    """A pinned requirement is imported; pip's lines are a folded group, not the script's output."""
    run = run_task(script=VERSION, install_dependencies=["six==1.16.0"], **own).succeeded()
    assert run.result["output"] == "1.16.0\n"
    start, end = run.lines.index("::group::Installing dependencies"), run.lines.index("::endgroup::")
    assert any("six-1.16.0" in line for line in run.lines[start:end])
    assert run.lines.index("1.16.0") > end


def test_externally_managed_python(own: dict[str, Any]) -> None:
    """An image whose Python forbids pip to touch it takes requirements all the same."""
    env = {"PIP_BREAK_SYSTEM_PACKAGES": "0"}
    run = run_task(script=VERSION, install_dependencies=["six==1.16.0"], env=env, **own).succeeded()
    assert run.result["output"] == "1.16.0\n"


def test_python_of_a_virtual_environment(own: dict[str, Any]) -> None:
    """An image that runs its Python from a virtual environment finds the requirements there."""
    script = "import six, sys\nprint(six.__version__, sys.prefix)"
    python = ["/venv/bin/python", "-u"]
    with node_folder(own) as folder:
        where = folder.mounted("/venv")
        run_task(script="import venv\nvenv.create('/venv', with_pip=True)", **where).succeeded()
        run = run_task(script=script, interpreter=python, install_dependencies=["six==1.16.0"], **where).succeeded()
    assert run.result["output"] == "1.16.0 /venv\n"


def test_entry_points_are_on_the_path(own: dict[str, Any]) -> None:
    """Programs of a requirement are found by the script."""
    script = "import shutil\nprint(shutil.which('normalizer'))"
    run = run_task(script=script, install_dependencies=["charset-normalizer"], **own).succeeded()
    assert run.result["output"] == "/airflow-packages/bin/normalizer\n"


def test_missing_requirement_fails_at_once_and_is_named(own: dict[str, Any], kubectl: Kubectl) -> None:
    """A requirement that does not exist is named, and no attempt is wasted on it (R22)."""
    run = run_task(script=VERSION, install_dependencies=["pandaz-is-no-package"], **own)
    assert 'could not install "pandaz-is-no-package": no matching distribution' in run.headline
    assert run.result["category"] == "InstallFailed"
    assert len(run.result["attempts"]) == 1
    assert len(run.headline) <= 200


def test_requirements_file_with_hashes(own: dict[str, Any], tmp_path: Path) -> None:
    """A -r file passed in files is read; pinned hashes work, and wrong ones are refused."""
    arguments: dict[str, Any] = {
        "script": VERSION,
        "install_dependencies": ["--require-hashes", "-r reqs.txt"],
        "files": {"reqs.txt": FileScript("reqs.txt")},
        "folder": str(tmp_path),
        **own,
    }
    (tmp_path / "reqs.txt").write_text(f"six==1.16.0 --hash=sha256:{SIX_WHEEL}\n")
    assert run_task(**arguments).succeeded().result["output"] == "1.16.0\n"
    (tmp_path / "reqs.txt").write_text(f"six==1.16.0 --hash=sha256:{hashlib.sha256(b'').hexdigest()}\n")
    assert "could not install: a hash does not match" in run_task(**arguments).headline


def test_environment_reaches_the_installation(own: dict[str, Any]) -> None:
    """PIP_INDEX_URL of env is the index that pip asks: an unreachable one is a transient failure."""
    run = run_task(
        script=VERSION,
        install_dependencies=["six"],
        env={"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0"},
        backoff_limit=0,
        **own,
    )
    assert "could not install" in run.headline
    assert any("127.0.0.1" in line for line in run.lines)


@pytest.mark.parametrize(
    "env",
    [
        {"PIP_USER": "true", "PIP_REQUIRE_VIRTUALENV": "1"},
        {"PIP_PREFIX": "/x", "PIP_ROOT": "/y", "PIP_TARGET": "/z", "PIP_DRY_RUN": "1"},
        {"PIP_CONFIG_FILE": "/scripts/pip.conf"},
    ],
    ids=["booleans", "places", "file"],
)
def test_settings_of_another_place_do_not_count(own: dict[str, Any], env: dict[str, str]) -> None:
    """pip's settings in the environment or in a file cannot lead the requirements elsewhere."""
    conf = "[global]\nrequire-virtualenv = true\n[install]\nuser = true\nprefix = /x\nroot = /y\ntarget = /z\n"
    files = {"pip.conf": InlineScript(conf)}
    run = run_task(script=VERSION, install_dependencies=["six==1.16.0"], env=env, files=files, **own).succeeded()
    assert run.result["output"] == "1.16.0\n"


def test_nothing_of_an_installation_is_left(own: dict[str, Any]) -> None:
    """The script shares /tmp with the installation, whose requirements may have a login (R26)."""
    lines = ["--extra-index-url http://user:hunter2-secret@127.0.0.1:9/simple", "six==1.16.0"]
    script = "import os\nprint([os.listdir(path) for path in ('/tmp', os.environ['HOME'])])"
    env = {"PIP_RETRIES": "0"}
    run = run_task(script=script, install_dependencies=lines, env=env, run_as_uid=1000, **own).succeeded()
    assert run.result["output"] == "[[], []]\n"


def test_requirements_under_a_restricted_user(own: dict[str, Any]) -> None:
    """Installing works with run_as_uid: read-only root, no root (R18)."""
    run = run_task(script=VERSION, install_dependencies=["six==1.16.0"], run_as_uid=1000, **own).succeeded()
    assert run.result["output"] == "1.16.0\n"


def test_credentials_in_a_requirement_stay_in_the_secret(own: dict[str, Any], kubectl: Kubectl) -> None:
    """A URL with a password is in no object but the Secret, which is gone (R26)."""
    line = "six @ http://user:hunter2-secret@127.0.0.1:9/six.whl"
    run = run_task(script=VERSION, install_dependencies=[line], backoff_limit=0, **own)
    assert "hunter2-secret" not in str(run.error)
    assert "hunter2-secret" not in str(run.log)
    assert "hunter2-secret" not in kubectl("get", "jobs,pods,configmaps", "-n", own["namespace"], "-o", "yaml")
    assert kubectl.names("secrets", own["namespace"]) == []


def test_packages_are_installed_before_the_script(own: dict[str, Any]) -> None:
    """A system package is there; apt's lines are a group and no part of the output (R24)."""
    script = "import subprocess, sys\nsubprocess.run(['jq', '-r', '.a'], input=sys.argv[1], text=True, check=True)"
    run = run_task(script=script, install_packages=["jq"], args={"a": "it's $(id)"}, **own).succeeded()
    assert run.result["output"] == "it's $(id)\n"
    assert "::group::Installing packages: jq" in run.lines
    assert any("install_packages needs root" in line for line in run.warnings)


def test_missing_package_fails_at_once_and_is_named(own: dict[str, Any]) -> None:
    """A package that does not exist is named, told apart from the script's own failure, and sought only once."""
    run = run_task(script="print(1)", install_packages=["no-such-package"], **own)
    assert "could not install packages: E: Unable to locate package no-such-package" in run.headline
    assert run.result["category"] == "InstallFailed"
    assert run.result["output"] == ""
    assert len(run.result["attempts"]) == 1


def test_packages_need_root(own: dict[str, Any]) -> None:
    """A container that is not root says so."""
    overrides = {"spec": {"containers": [{"name": "script", "securityContext": {"runAsUser": 1000}}]}}
    run = run_task(script="print(1)", install_packages=["jq"], pod_overrides=overrides, **own)
    assert "the container does not run as root" in run.headline


def test_variables_that_no_shell_sets_are_there_behind_the_prelude(own: dict[str, Any]) -> None:
    """dash, which runs the prelude, does not pass them on (R16)."""
    script = "import json, os; print(json.dumps([os.environ.get(n) for n in ('spring.url', 'db-key', 'OK')]))"
    env = {"spring.url": "a b\n$(OK)", "db-key": "$HOME", "OK": "z"}
    install: Any = {"install_dependencies": ["-r more.txt"], "files": {"more.txt": "# nothing"}}
    assert run_task(script=script, env=env, **install, **own).succeeded().xcoms["value"] == ["a b\n$(OK)", "$HOME", "z"]


def test_signals_reach_the_script_behind_the_prelude(own: dict[str, Any]) -> None:
    """The prelude becomes the interpreter: SIGTERM reaches the script's handler (R27)."""
    script = "import signal, sys, time\nsignal.signal(15, lambda *_: (print('bye'), sys.exit(0)))\n"
    script += f"print('up', flush=True)\ntime.sleep({LONG})"
    _, run = with_time_to_begin(
        lambda seconds: run_task(script=script, install_dependencies=["six==1.16.0"], timeout=seconds, **own),
        lambda run: "up" in run.lines,
    )
    assert "bye" in run.lines
