"""What is installed before a script, and which lines are its own."""

from __future__ import annotations

import pytest

from airflow_script_provider.kube.logs.prelude import Prelude
from airflow_script_provider.kube.request.interpreters import Interpreter
from airflow_script_provider.kube.request.logins import logins_in
from airflow_script_provider.kube.request.provision import Provision, install_failure


def test_nothing_to_install_changes_nothing() -> None:
    """Without requirements and packages there is no tool, no prelude, no volume."""
    provision = Provision.of(None, None)
    assert (provision.tools(), provision.prelude(), provision.volumes(), provision.mounts()) == ({}, [], [], [])
    assert provision.secret_variables() == {}
    assert provision.script_environment("mark") == []


def test_files_of_requirements_lie_beside_the_script() -> None:
    """-r and -c name files of ``files``; absolute paths and URLs stay as they are."""
    lines = ["-r a.txt", "--constraint=b.txt", "-r /etc/c.txt", "-c https://host/d.txt", "six==1.16.0"]
    expected = (
        "-r /scripts/a.txt",
        "--constraint /scripts/b.txt",
        "-r /etc/c.txt",
        "-c https://host/d.txt",
        "six==1.16.0",
    )
    assert Provision.of(lines, None).requirements == expected


@pytest.mark.parametrize(
    ("dependencies", "packages", "words"),
    [
        ("six", None, "install_dependencies must be a list of strings, not str"),
        ([1], None, "install_dependencies contains 1"),
        (["a\nb"], None, "install_dependencies contains 'a\\nb'"),
        (None, {"a": 1}, "install_packages must be a list of strings, not dict"),
        (None, ["jq; rm -rf /"], "install_packages contains 'jq; rm -rf /'"),
        (None, ["-y"], "install_packages contains '-y'"),
    ],
)
def test_bad_lists_name_the_argument(dependencies: object, packages: object, words: str) -> None:
    """What is no list of requirements or packages is refused with its argument."""
    with pytest.raises(ValueError, match="install_") as caught:
        Provision.of(dependencies, packages)  # type: ignore[arg-type]  # that is what is refused
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "python"),
    [(("/venv/bin/python", "-u"), "/venv/bin/python"), (("node",), "python3"), (("python3", "-u"), "python3")],
)
def test_the_scripts_own_python_installs(argv: tuple[str, ...], python: str) -> None:
    """Requirements are installed by the Python that runs the script."""
    command = Provision.of(["six"], None).install_command(Interpreter(argv, "test"))
    assert command == [python, "-u", "/scripts/.airflow/install.py"]


def test_the_prelude_ends_at_its_own_mark() -> None:
    """Lines up to the mark are the installation's; a script that prints the like is not mistaken (R35)."""
    prelude = Prelude("abc")
    assert prelude.of_script([b"apt\n", b"::endgroup::\n"]) == []
    assert prelude.of_script([b"more\n", b"::endgroup::abc\n", b"mine\n"]) == [b"mine\n"]
    assert prelude.of_script([b"::endgroup::abc\n"]) == [b"::endgroup::abc\n"]


def test_without_a_prelude_every_line_is_the_scripts() -> None:
    """No mark: nothing comes before the script."""
    assert Prelude(None).of_script([b"a\n"]) == [b"a\n"]


def test_only_our_termination_message_is_an_installations() -> None:
    """A script may leave a message of its own."""
    assert install_failure("airflow-script: could not install packages: x") == "could not install packages: x"
    assert install_failure("the script's words") is None


def test_logins_in_requirements_are_found() -> None:
    """User and password of a URL, together and the password alone, are what the log must not show (R26)."""
    lines = ["six==1.16.0", "--index-url https://u:hunter2@host/simple", "a @ https://token123@host/a.whl"]
    assert logins_in(lines) == ["u:hunter2", "token123", "hunter2"]


@pytest.mark.parametrize("url", ["https://u:hun@ter@host/", "https://u:hun%40ter@host/"])
def test_a_password_with_an_at_sign_is_found_whole(url: str) -> None:
    """Whether it is encoded, as it should be, or not (R26)."""
    assert "hun@ter" in logins_in([url])
