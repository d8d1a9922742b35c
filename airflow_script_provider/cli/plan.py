"""From the command line and a file to a task, and to the executors that may run it."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from airflow_script_provider.cli import inputs
from airflow_script_provider.cli.arguments import options_used
from airflow_script_provider.cli.script import source_of_argument, source_of_file, source_of_step, source_of_task
from airflow_script_provider.runners.script_run import ScriptRun, Target
from airflow_script_provider.spec import choice, taskfile
from airflow_script_provider.spec.settings import as_number, has_template
from airflow_script_provider.spec.source import SourceSettings
from airflow_script_provider.spec.taskfile import TaskSettings
from airflow_script_provider.spec.text import read_yaml

SHELL = ("sh",)
"""What runs a task's command line where neither shebang nor extension says otherwise."""

_STEP_ORDER = (choice.JOB, choice.LOCAL, choice.CONTAINER, choice.KUBERNETES)
_NOT_FOR_A_JOB = ("task_id", "doc_md", "script", "args", "env", "image", "namespace", "timeout")


@dataclass(frozen=True)
class Plan:
    """A task, the executors that may run it (best first), and the namespace that the file says."""

    task: ScriptRun
    order: tuple[str, ...]
    namespace_in_file: str | None = None


def plan(found: Namespace, environ: Mapping[str, str]) -> Plan:
    """What the command line asks for. Raises ``ValueError`` for misuse, ``ScriptSourceError`` for a missing file."""
    file = _file(found)
    if file is None:
        return _of_argument(found, environ)
    document = _document(file)
    if taskfile.is_task_file(document):
        return _of_task(found, environ, document, file.parent)
    return _of_step(found, environ, document, file.parent)


def _file(found: Namespace) -> Path | None:
    """The file that was named, or the task file here if it has such a task."""
    if found.file:
        return Path(found.file)
    here = next((path for name in taskfile.FILE_NAMES if (path := Path(name)).is_file()), None)
    if here is None:
        if found.flavor:
            raise ValueError(f"--flavor needs a task file: -f FILE, or {taskfile.FILE_NAMES[0]} in this folder")
        return None
    is_named = found.script is None or found.script in taskfile.task_names(_document(here))
    return here if is_named or found.flavor else None


def _document(file: Path) -> Any:
    text = _text_of(file)
    try:
        return read_yaml(text)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ValueError(f"{file} cannot be read: {why}") from None


def _of_argument(found: Namespace, environ: Mapping[str, str]) -> Plan:
    if found.script is None:
        raise ValueError("say what to run: a file, a URI, text, or a task of a task file")
    source = source_of_argument(found.script, found.script_conn_id)
    task = _with_command_line(ScriptRun(source=source, folder="."), found, environ)
    return Plan(task, _order(found, None))


def _of_task(found: Namespace, environ: Mapping[str, str], document: Any, folder: Path) -> Plan:
    settings = taskfile.read_task(document, found.script, environ, flavor=found.flavor)
    source, is_command = source_of_task(settings.script, folder, found.script_conn_id)
    task = ScriptRun(
        source=source,
        folder=str(folder),
        args=settings.args,
        arguments=settings.arguments,
        env=settings.env,
        files={path: source_of_file(file, folder, path) for path, file in settings.files.items()},
        interpreter=settings.interpreter or (SHELL if is_command else None),
        working_dir=settings.working_dir,
        timeout=_seconds(settings.timeout, settings.name),
        interactive=settings.interactive,
        terminal=settings.interactive and _has_terminal(found),
        place=_place(settings),
    )
    return Plan(_with_command_line(task, found, environ), _order(found, settings.executors), settings.namespace)


def _place(settings: TaskSettings) -> Target:
    component = settings.component
    if component is None:
        return Target(image=settings.image, context=settings.context)
    return Target(
        deployment=component.deployment,
        pod_container=component.container,
        service=component.service,
        project=component.project,
        image=settings.image,
        context=settings.context,
    )


def _of_step(found: Namespace, environ: Mapping[str, str], document: Any, folder: Path) -> Plan:
    from airflow_script_provider.spec.arguments import operator_settings

    if found.flavor:
        raise ValueError("--flavor is a task file's; a step of the Script tool has none")
    arguments = dict(operator_settings(document, step=found.script).arguments)
    _refuse_templates(arguments)
    task = ScriptRun(
        source=source_of_step(arguments["script"]),
        folder=str(folder),
        args=arguments.get("args"),
        env=arguments.get("env") or {},
        timeout=arguments.get("timeout"),
        place=Target(image=arguments.get("image")),
        job_arguments={name: value for name, value in arguments.items() if name not in _NOT_FOR_A_JOB},
    )
    order = _order(found, _STEP_ORDER)
    return Plan(_with_command_line(task, found, environ), order, arguments.get("namespace"))


def _with_command_line(task: ScriptRun, found: Namespace, environ: Mapping[str, str]) -> ScriptRun:
    """The task with what was said on the command line, which has the last word."""
    args = inputs.args(found.args, found.arg)
    if found.arguments is not None and args is not None:
        raise ValueError("--args and --arg exclude arguments after --: one JSON string, or strings as they are")
    if args is not None or found.arguments is not None:
        task = replace(task, args=args, arguments=found.arguments)
    if task.args is not None and task.arguments is not None:
        raise ValueError("args and arguments exclude each other: one JSON string, or strings as they are")
    if found.image and found.__dict__.get("container"):
        raise ValueError("--image and --container exclude each other: a new container, or one that runs")
    place = {"deployment": found.__dict__.get("deployment"), "container": found.__dict__.get("container")}
    place |= {"image": found.image, "context": found.context, "conn_id": found.conn_id}
    if found.image:  # a new container, not the service's
        place["service"] = None
    is_terminal = bool(found.__dict__.get("tty"))
    return replace(
        task,
        env={**task.env, **inputs.env(found.env, found.env_file, environ)},
        interpreter=_words_of(found.interpreter) if found.interpreter else task.interpreter,
        working_dir=found.__dict__.get("workdir") or task.working_dir,
        timeout=found.timeout or task.timeout,
        interactive=bool(found.__dict__.get("interactive")) or is_terminal or task.interactive,
        terminal=is_terminal or task.terminal,
        place=replace(task.place, **{name: value for name, value in place.items() if value or name == "service"}),
    )


def _words_of(interpreter: str) -> list[str]:
    try:
        return shlex.split(interpreter)
    except ValueError as error:
        raise ValueError(f"--interpreter {interpreter} cannot be split into words: {error}") from None


def _order(found: Namespace, listed: tuple[str, ...] | None) -> tuple[str, ...]:
    if found.command == "render":
        return (choice.JOB,)
    return choice.candidates(found.executor, listed, options_used(found))


def _has_terminal(found: Namespace) -> bool:
    """Whether an interactive task can have one: not in a pipe, and not where the result is asked for."""
    return bool(found.__dict__.get("on_terminal")) and found.output != "json"


def _seconds(value: Any, task: str) -> float | None:
    number = as_number(value)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int | float) or number <= 0:
        raise ValueError(f"tasks.{task}.timeout must be a number of seconds above 0, not {value!r}")
    return float(number)


def _refuse_templates(arguments: Mapping[str, Any]) -> None:
    """A script's own text may hold anything; elsewhere a template would reach the script as it is."""
    script = arguments["script"]
    said = {name: value for name, value in arguments.items() if name not in ("script", "doc_md", "task_id")}
    if isinstance(script, SourceSettings) and script.kind != "inline":
        said["script"] = script.arguments
    for name, value in said.items():
        if _holds_template(value):
            raise ValueError(f"the step's {name} has a template, which only Airflow renders; write the value instead")


def _holds_template(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_template(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_template(item) for item in value)
    return has_template(value)
