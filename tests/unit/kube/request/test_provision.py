"""What is installed before a script, and which lines are its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_script_provider.kube.logs.groups import BEGIN_OF_INSTALLATION, end_of_installation
from airflow_script_provider.kube.logs.output import Output, Tail
from airflow_script_provider.kube.logs.prelude import Prelude
from airflow_script_provider.kube.request.interpreters import Interpreter
from airflow_script_provider.kube.request.logins import logins_in
from airflow_script_provider.kube.request.provision import Provision, install_failure

HEAD, END = BEGIN_OF_INSTALLATION + b"jq\n", end_of_installation("abc")


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


@pytest.mark.parametrize("kept", [Output, lambda: Tail(100)])
@pytest.mark.parametrize(
    ("chunks", "mine"),
    [
        ([[HEAD, b"::endgroup::\n"], [b"more\n", END, b"mine\n"], [END]], b"mine\n" + END),
        ([[HEAD], [b"more\n"]], b""),
        ([[HEAD, b"no line end" + END, b"mine\n"]], b"mine\n"),
        ([[b"rotated\n"], [b"[1]\n"]], b"rotated\n[1]\n"),
        ([[b"sh: warning\n", HEAD], [b"more\n", END], [b"mine\n"]], b"mine\n"),
        ([[], [HEAD, b"more\n"]], b""),
    ],
    ids=["marks of others", "killed", "no line end", "rotated", "a line before", "nothing yet"],
)
def test_the_scripts_lines_begin_after_the_mark(
    chunks: list[list[bytes]], mine: bytes, kept: Callable[[], Output | Tail]
) -> None:
    """Also if it stands in a line of an installer; if the log's start is rotated away, all are the script's (R35)."""
    output = kept()
    prelude = Prelude("abc", output)
    for lines in chunks:
        prelude.add(lines)
    text = output.tail() if isinstance(output, Output) else output.text()
    assert text.encode() == mine
    assert output.size == len(mine)


def test_without_a_prelude_every_line_is_the_scripts() -> None:
    """No mark: nothing comes before the script."""
    output = Output()
    Prelude(None, output).add([b"a\n"])
    assert output.tail() == "a\n"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["A", "_b2"], []),
        (["A", "a.b", "c-d", "2x"], ["env", "--", "a.b=$(a.b)", "c-d=$(c-d)", "2x=$(2x)"]),
    ],
)
def test_variables_that_a_shell_drops_are_set_again(names: list[str], words: list[str]) -> None:
    """Behind the prelude, which dash runs; without one no shell comes between (R16)."""
    assert Provision.of(None, ["jq"]).restoring(names) == words
    assert Provision.of(None, None).restoring(names) == []


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
