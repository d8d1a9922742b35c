"""Requests to run in a running pod."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.kube.durations import Deadline
from airflow_script_provider.kube.exec.request import ExecOptions, ExecRequest, described
from airflow_script_provider.kube.request.inputs import ScriptInputs
from airflow_script_provider.kube.request.interpreters import Interpreter
from tests.builders import a_script, an_exec_request


def checked(script: Any = "print(1)", call: dict[str, Any] | None = None, **options: Any) -> ExecOptions:
    """Options that are checked as at DAG parse."""
    where = {} if {"pod", "label_selector", "statefulset"} & set(options) else {"deployment": "api"}
    checked = ExecOptions(**(where | options))
    checked.check_before_rendering(ScriptInputs(script=script, **(call or {})))
    return checked


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"pod": "x", "statefulset": "y"}, "statefulset and pod exclude each other: give exactly one of"),
        ({"deployment": None}, "no pod is chosen: give exactly one of deployment, statefulset, pod"),
        ({"script": None}, "give exactly one of script and command"),
        ({"command": ["ls"]}, "give exactly one of script and command"),
        (
            {"script": None, "command": "ls /"},
            r'command=.ls /. must be a list of strings; for a shell write \["sh",',
        ),
        ({"script": None, "command": []}, "command must be a list of at least one string"),
        ({"script": None, "command": ["ls", 1]}, r"command\[1\] must be a string, not int"),
        ({"script": None, "command": ["ls"], "interpreter": ["sh"]}, "interpreter is only for script"),
        ({"script": None, "command": ["ls"], "call": {"args": {}}}, "args is only for script"),
        ({"script": None, "command": ["ls"], "call": {"sha256": "a"}}, "sha256 is only for script"),
        ({"script": None, "command": {"ls": 1}}, "command must be a list of strings, not dict"),
        ({"script": None, "command": 5}, "command must be a list of strings, not int"),
        ({"interpreter": "bash"}, "interpreter='bash' must be a list of strings"),
        ({"interpreter": {"sh": 1}}, "interpreter must be a list of strings, not dict"),
        ({"timeout": 0}, "timeout=0 must be more than 0 seconds"),
        ({"termination_grace_period": -1}, "termination_grace_period=-1 must be at least 0 seconds"),
        ({"skip_on_exit_code": 300}, "skip_on_exit_code contains 300"),
    ],
)
def test_what_cannot_work_is_refused_by_name(arguments: dict[str, Any], said: str) -> None:
    """A mistake is refused whatever the templates become (R29)."""
    with pytest.raises(ValueError, match=said):
        checked(**arguments)


def test_templates_are_left_for_the_run() -> None:
    """A template, or a command that another task returns, is not a mistake."""
    assert checked(deployment="{{ params.app }}").deployment == "{{ params.app }}"
    assert checked(None, command=object()).command


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"command": {"ls": 1}}, "command must be a list of strings, not dict"),
        ({"command": ["ls"], "working_dir": 5}, "working_dir=5 is not a path"),
    ],
)
def test_what_rendering_made_of_them_is_checked(options: dict[str, Any], said: str) -> None:
    """A value of a template or of another task is checked."""
    with pytest.raises(ValueError, match=said):
        an_exec_request(None, **options)


def test_empty_script_is_refused() -> None:
    """An empty script is a mistake."""
    with pytest.raises(ValueError, match="script is empty"):
        an_exec_request("  \n")


def test_what_is_given_is_checked_before_a_pod_is_looked_for() -> None:
    """A bad value of env fails when the request is made."""
    with pytest.raises(ValueError, match="contains a NUL character"):
        an_exec_request(env={"A": "\0"})


def test_the_containers_image_decides_the_interpreter() -> None:
    """The image of the chosen pod decides, if nothing else does."""
    assert an_exec_request().invocation("node:20-slim").interpreter == Interpreter(("node",), "image")
    assert an_exec_request().invocation("").argv == ("python3", "-u")
    assert an_exec_request(None, command=["ls"]).invocation("node:20-slim").interpreter is None


def test_sql_gets_its_arguments_as_variables() -> None:
    """psql would take a JSON argument for the name of a database."""
    invocation = an_exec_request("select 1", args={"a": 1}).invocation("postgres:15")
    assert invocation.payload.arguments == ("-v", "a=1")
    assert not invocation.has_folder


def test_arguments_are_no_references() -> None:
    """An exec does not expand ``$(NAME)``."""
    invocation = an_exec_request(args={"a": "$(B)"}, env={"B": "1"}).invocation("")
    assert (invocation.payload.arguments, invocation.payload.environment) == (('{"a": "$(B)"}',), {"B": "1"})


def test_a_bare_command_needs_no_shell() -> None:
    """A command without env, files and working_dir starts without a shell."""
    assert an_exec_request(None, command=["ls"]).is_bare
    assert not an_exec_request(None, command=["ls"], env={"A": "1"}).is_bare
    assert not an_exec_request(None, command=["ls"], working_dir="/").is_bare
    assert not an_exec_request().is_bare


@pytest.mark.parametrize(
    ("timeout", "left", "deadline"),
    [
        (600, None, Deadline(600)),
        (600, 10.2, Deadline(11, "execution_timeout")),
        (5, 10.0, Deadline(5)),
        (None, None, Deadline(None)),
        (None, 3.0, Deadline(3, "execution_timeout")),
    ],
)
def test_the_sooner_end_counts(timeout: int | None, left: float | None, deadline: Deadline) -> None:
    """The deadline is the timeout, or the task's remaining time (R5)."""
    assert Deadline.within(timeout, left) == deadline


def test_a_dry_run_has_no_value() -> None:
    """A dry run shows what would run where, with names instead of values (R26)."""
    files = {"x": a_script("hunter2")}
    request = an_exec_request(args={"k": "hunter2"}, env={"KEY": "hunter2"}, files=files)
    told = described(request)
    assert "hunter2" not in str(told)
    assert (told["deployment"], told["namespace"], told["env"]) == ("api", "shop", {"KEY": "(hidden)"})
    assert told["arguments"] == "1 (values hidden)"


def test_a_dry_run_of_a_command() -> None:
    """A command is shown as it is."""
    told = described(an_exec_request(None, command=["ls", "/"], working_dir="/app"))
    assert (told["command"], told["working_dir"], told["timeout"]) == (["ls", "/"], "/app", 600)


def test_requests_show_no_value() -> None:
    """A request in a log or traceback has no value of env or args (R26)."""
    request: ExecRequest = an_exec_request(args={"k": "hunter2"}, env={"A": "hunter2"})
    assert "hunter2" not in repr(request)
    assert "hunter2" not in repr(request.invocation(""))
