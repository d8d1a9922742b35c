"""Plan a run: from the command line and a file to the script's run and its possible executors."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from airflow_script_provider.cli import inputs
from airflow_script_provider.cli.arguments import executor_options
from airflow_script_provider.cli.script import source_of_argument, source_of_file, source_of_step, source_of_task
from airflow_script_provider.runners.script_run import ScriptRun, Target
from airflow_script_provider.spec import choice, taskfile
from airflow_script_provider.spec.settings import as_number, has_template
from airflow_script_provider.spec.source import SourceSettings
from airflow_script_provider.spec.taskfile import TaskSettings
from airflow_script_provider.spec.text import read_yaml

SHELL = ("sh",)
"""The interpreter of a task's command line, if neither shebang nor extension names another one."""

_STEP_ORDER = (choice.JOB, choice.LOCAL, choice.CONTAINER, choice.KUBERNETES)
_NOT_FOR_A_JOB = ("task_id", "doc_md", "script", "args", "env", "image", "namespace", "timeout")


@dataclass(frozen=True)
class RunPlan:
    """A run, the executors that may run it (best first), and the namespace that the file sets."""

    script_run: ScriptRun
    order: tuple[str, ...]
    namespace_in_file: str | None = None


def plan_run(options: Namespace, environ: Mapping[str, str]) -> RunPlan:
    """Plan what the command line asks for.

    ``ValueError`` says what is misused, ``ScriptSourceError`` which file is missing.
    """
    file = _file_of(options)
    if file is None:
        return _plan_argument(options, environ)
    document = _document(file)
    if taskfile.is_task_file(document):
        return _plan_task(options, environ, document, file.parent)
    return _plan_step(options, environ, document, file.parent)


def _file_of(options: Namespace) -> Path | None:
    """The named file, or the current folder's task file if it has the named task."""
    if options.file:
        return Path(options.file)
    here = next((path for name in taskfile.FILE_NAMES if (path := Path(name)).is_file()), None)
    if here is None:
        if options.flavor:
            raise ValueError(f"--flavor needs a task file: -f FILE, or {taskfile.FILE_NAMES[0]} in this folder")
        return None
    is_named = options.script is None or options.script in taskfile.task_names(_document(here))
    return here if is_named or options.flavor else None


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


def _plan_argument(options: Namespace, environ: Mapping[str, str]) -> RunPlan:
    if options.script is None:
        raise ValueError("SCRIPT is missing: name a file, a URI, text, or a task of a task file")
    source = source_of_argument(options.script, options.script_conn_id)
    script_run = _with_options(ScriptRun(source=source, folder="."), options, environ)
    return RunPlan(script_run, _order(options, None))


def _plan_task(options: Namespace, environ: Mapping[str, str], document: Any, folder: Path) -> RunPlan:
    settings = taskfile.read_task(document, options.script, environ, flavor=options.flavor)
    source, is_command = source_of_task(settings.script, folder, options.script_conn_id)
    script_run = ScriptRun(
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
        terminal=settings.interactive and _has_terminal(options),
        target=_target(settings),
    )
    order = _order(options, settings.executors)
    return RunPlan(_with_options(script_run, options, environ), order, settings.namespace)


def _target(settings: TaskSettings) -> Target:
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


def _plan_step(options: Namespace, environ: Mapping[str, str], document: Any, folder: Path) -> RunPlan:
    from airflow_script_provider.spec.arguments import operator_settings

    if options.flavor:
        raise ValueError("--flavor needs a task file; a step of the Script tool has no flavors")
    arguments = dict(operator_settings(document, step=options.script).arguments)
    _refuse_templates(arguments)
    script_run = ScriptRun(
        source=source_of_step(arguments["script"]),
        folder=str(folder),
        args=arguments.get("args"),
        env=arguments.get("env") or {},
        timeout=arguments.get("timeout"),
        target=Target(image=arguments.get("image")),
        job_arguments={name: value for name, value in arguments.items() if name not in _NOT_FOR_A_JOB},
    )
    order = _order(options, _STEP_ORDER)
    return RunPlan(_with_options(script_run, options, environ), order, arguments.get("namespace"))


def _with_options(script_run: ScriptRun, options: Namespace, environ: Mapping[str, str]) -> ScriptRun:
    """The run with the command line's options, which replace the file's settings."""
    args = inputs.args(options.args, options.arg)
    if options.arguments is not None and args is not None:
        raise ValueError("--args and --arg exclude arguments after --: one JSON string, or strings as they are")
    if args is not None or options.arguments is not None:
        script_run = replace(script_run, args=args, arguments=options.arguments)
    if script_run.args is not None and script_run.arguments is not None:
        raise ValueError("args and arguments exclude each other: one JSON string, or strings as they are")
    given = vars(options)
    if options.image and given.get("container"):
        raise ValueError("--image and --container exclude each other: a new container, or a running one")
    target = {"deployment": given.get("deployment"), "container": given.get("container")}
    target |= {"image": options.image, "context": options.context, "conn_id": options.conn_id}
    if options.image:  # a new container, not the service's
        target["service"] = None
    is_terminal = bool(given.get("tty"))
    return replace(
        script_run,
        env={**script_run.env, **inputs.env(options.env, options.env_file, environ)},
        interpreter=_split_words(options.interpreter) if options.interpreter else script_run.interpreter,
        working_dir=given.get("workdir") or script_run.working_dir,
        timeout=options.timeout or script_run.timeout,
        interactive=bool(given.get("interactive")) or is_terminal or script_run.interactive,
        terminal=is_terminal or script_run.terminal,
        target=replace(
            script_run.target, **{name: value for name, value in target.items() if value or name == "service"}
        ),
    )


def _split_words(interpreter: str) -> list[str]:
    try:
        return shlex.split(interpreter)
    except ValueError as error:
        raise ValueError(f"--interpreter {interpreter} cannot be split into words: {error}") from None


def _order(options: Namespace, allowed: tuple[str, ...] | None) -> tuple[str, ...]:
    if options.command == "render":
        return (choice.JOB,)
    return choice.candidates(options.executor, allowed, executor_options(options))


def _has_terminal(options: Namespace) -> bool:
    """Whether an interactive task gets a terminal: not in a pipe, nor with ``--output json``."""
    return bool(vars(options).get("on_terminal")) and options.output != "json"


def _seconds(value: Any, task: str) -> float | None:
    number = as_number(value)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int | float) or number <= 0:
        raise ValueError(f"tasks.{task}.timeout must be a number of seconds above 0, not {value!r}")
    return float(number)


def _refuse_templates(arguments: Mapping[str, Any]) -> None:
    """Refuse a step's templates. Only the text of a script may contain anything.

    Airflow is not there to render a template, so it would reach the script as it is.
    """
    script = arguments["script"]
    checked = {name: value for name, value in arguments.items() if name not in ("script", "doc_md", "task_id")}
    if isinstance(script, SourceSettings) and script.kind != "inline":
        checked["script"] = script.arguments
    for name, value in checked.items():
        if _holds_template(value):
            raise ValueError(
                f"the step's {name} contains a template, which only Airflow renders; write the value instead"
            )


def _holds_template(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_template(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_template(item) for item in value)
    return has_template(value)
