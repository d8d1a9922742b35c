"""The program ``airflow-script``."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from airflow_script_provider import exceptions
from airflow_script_provider.cli import arguments, interruption, stdout
from airflow_script_provider.cli.plan import Plan, plan
from airflow_script_provider.cli.screen import StreamScreen, open_log_file
from airflow_script_provider.result import ScriptResult, Status
from airflow_script_provider.runners.script_run import Runner, ScriptRun, missing_setting
from airflow_script_provider.spec import choice

MISUSE = 2
TIMED_OUT = 124
NOT_RUN = 125
"""As ``docker run`` and ``timeout`` have it."""
BY_SIGNAL = 128

# Imported only when they are asked: each brings a client of its own.
_RUNNERS = {
    choice.LOCAL: ("local", "LocalRunner"),
    choice.CONTAINER: ("container", "ContainerRunner"),
    choice.KUBERNETES: ("pod", "PodRunner"),
    choice.JOB: ("job", "JobRunner"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and return the exit code."""
    found = arguments.parse(sys.argv[1:] if argv is None else argv)
    interruption.treat_as_ctrl_c()
    try:
        return _render(found) if found.command == "render" else _run(found)
    except KeyboardInterrupt:
        return BY_SIGNAL + interruption.signal_received()
    except BrokenPipeError:  # who read our output has seen enough, as head has
        return BY_SIGNAL + signal.SIGPIPE
    except (exceptions.ScriptProviderError, OSError) as error:
        return _failed(_words(error), NOT_RUN)
    except (ValueError, TypeError) as error:
        return _failed(str(error), MISUSE)
    except _airflows_own() as error:
        return _failed(str(error), NOT_RUN)


def _run(found: Namespace) -> int:
    _check_terminal(found)
    found.on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    is_result_wanted = found.output == "json"
    with stdout.take_stdout() as ours, open_log_file(found.log_file) as log_file:
        planned = plan(found, os.environ)
        out = sys.stderr.buffer if is_result_wanted else ours
        screen = StreamScreen(out, sys.stderr.buffer, verbose=found.verbose, log_file=log_file)
        name = choice.first_available(planned.order, lambda name: _why_not(name, planned, found))
        task = _placed(planned, found, name)
        screen.note(f"executor {name}, {task.source}")
        try:
            with screen.waiting(None if task.interactive else f"{name}: {task.source}"):
                result = _runner(name).run(task, screen)
        except KeyboardInterrupt:
            if screen.failure is not None:
                raise screen.failure from None
            raise
        if result.error is not None:
            screen.note(result.error, important=True)
        if is_result_wanted:
            stdout.write(ours, json.dumps(result.to_dict(), ensure_ascii=False).encode() + b"\n")
    return _exit_code(result)


def _render(found: Namespace) -> int:
    from airflow_script_provider.kube.job import manifest
    from airflow_script_provider.runners.job import request_of

    with stdout.take_stdout() as ours:
        request = request_of(_placed(plan(found, os.environ), found, choice.JOB))
        stdout.write(ours, manifest.as_yaml(request).encode())
    return 0


def _why_not(name: str, planned: Plan, found: Namespace) -> str | None:
    """Why an executor cannot run the task; one that nobody has told where is not even loaded."""
    return missing_setting(name, planned.task.place) or _runner(name).unavailable(_placed(planned, found, name))


def _runner(name: str) -> Runner:
    module, kind = _RUNNERS[name]
    return cast(Runner, getattr(importlib.import_module(f"airflow_script_provider.runners.{module}"), kind)())


def _placed(planned: Plan, found: Namespace, name: str) -> ScriptRun:
    """The task with the namespace it runs in, where its executor has such a thing."""
    task = planned.task
    if name not in choice.READ_BY["--namespace"]:
        return task

    def of_context() -> str | None:
        from airflow_script_provider.clusters.access import ClusterRef

        access = ClusterRef(task.place.conn_id, cluster_context=task.place.context).resolve()
        return access.namespace or access.namespace_of_context() or access.namespace_for(None)

    namespace = choice.namespace(found.namespace, os.environ, planned.namespace_in_file, of_context)
    return replace(task, place=replace(task.place, namespace=namespace))


def _check_terminal(found: Namespace) -> None:
    if found.tty and not sys.stdin.isatty():
        raise ValueError("-t needs a terminal on stdin; leave it out in a pipe")
    if found.tty and found.output == "json":
        raise ValueError("-t and --output json exclude each other: a terminal has one stream, which is not the result")


def _exit_code(result: ScriptResult) -> int:
    if result.status is Status.TIMEOUT:
        return TIMED_OUT
    return NOT_RUN if result.exit_code is None else result.exit_code


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _airflows_own() -> tuple[type[Exception], ...]:
    """Airflow's errors, where it was imported at all: no such connection, or an extra that is not installed."""
    loaded = sys.modules.get("airflow_script_provider._airflow")
    return () if loaded is None else (loaded.AirflowException,)


def _failed(message: str, code: int) -> int:
    print(f"{arguments.PROGRAM}: {message}", file=sys.stderr)  # noqa: T201  # where errors go
    return code


if __name__ == "__main__":
    sys.exit(main())
