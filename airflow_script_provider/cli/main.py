"""The program ``airflow-script``."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import traceback
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from airflow_script_provider import exceptions
from airflow_script_provider.cli import arguments, inputs, interruption, stdout
from airflow_script_provider.cli.plan import RunPlan, plan_run
from airflow_script_provider.cli.screen import StreamScreen, open_log_file
from airflow_script_provider.kube.wording import without_controls
from airflow_script_provider.result import ScriptResult, Status
from airflow_script_provider.runners.script_run import Runner, ScriptRun, missing_setting
from airflow_script_provider.spec import choice

MISUSE = 2
TIMED_OUT = 124
NOT_RUN = 125
"""These two exit codes are those of ``timeout`` and ``docker run``."""
BY_SIGNAL = 128

# A runner is imported when it is used, because each of them imports a client of its own.
_RUNNERS = {
    choice.LOCAL: ("local", "LocalRunner"),
    choice.CONTAINER: ("container", "ContainerRunner"),
    choice.KUBERNETES: ("pod", "PodRunner"),
    choice.JOB: ("job", "JobRunner"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program, and return its exit code.

    After an unforeseen error, which is a fault of this program, Python's 1 would be taken for the
    script's exit code.
    """
    stdout.open_closed_streams()
    options = arguments.parse(sys.argv[1:] if argv is None else argv)
    interruption.treat_signals_as_ctrl_c()
    try:
        return _exit_code_of_command(options)
    except Exception:  # noqa: BLE001  # its traceback is shown
        traceback.print_exc()
        return NOT_RUN


def _exit_code_of_command(options: Namespace) -> int:
    try:
        return _render(options) if options.command == "render" else _run(options)
    except KeyboardInterrupt:
        return BY_SIGNAL + interruption.signal_received()
    except BrokenPipeError:  # the reader of our output has ended, as head does
        return BY_SIGNAL + signal.SIGPIPE
    except (exceptions.ScriptProviderError, OSError) as error:
        return _report_failure(_message_of(error), NOT_RUN)
    except (ValueError, TypeError) as error:
        return _report_failure(str(error), MISUSE)
    except _airflow_errors() as error:
        return _report_failure(str(error), NOT_RUN)


def _run(options: Namespace) -> int:
    _check_terminal(options)
    options.on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    is_result_wanted = options.output == "json"
    with stdout.take_stdout() as own_stdout, open_log_file(options.log_file) as log_file:
        run_plan = plan_run(options, os.environ)
        out = sys.stderr.buffer if is_result_wanted else own_stdout
        screen = StreamScreen(out, sys.stderr.buffer, verbose=options.verbose, log_file=log_file)
        name = choice.first_available(run_plan.order, lambda name: _why_unavailable(name, run_plan, options))
        script_run = _with_namespace(run_plan, options, name)
        screen.note(f"executor {name}, {script_run.source}")
        for warning in inputs.warnings(options.env_file):
            screen.note(warning, important=True)
        try:
            with screen.waiting(None if script_run.interactive else f"{name}: {script_run.source}"):
                result = _new_runner(name).run(script_run, screen)
        except KeyboardInterrupt:
            if screen.failure is not None:
                raise screen.failure from None
            raise
        if result.error is not None:
            screen.note(result.error, important=True)
        if is_result_wanted:
            stdout.write(own_stdout, _json_line(result))
    return _exit_code(result)


def _render(options: Namespace) -> int:
    from airflow_script_provider.kube.job import manifest
    from airflow_script_provider.runners.job import request_of
    from airflow_script_provider.spec.text import write_yaml

    with stdout.take_stdout() as own_stdout:
        request = request_of(_with_namespace(plan_run(options, os.environ), options, choice.JOB))
        stdout.write(own_stdout, write_yaml(*manifest.shown(request)).encode())
    return 0


def _why_unavailable(name: str, run_plan: RunPlan, options: Namespace) -> str | None:
    """Why an executor cannot run the script.

    Without its target, the runner is not even imported.
    """
    missing = missing_setting(name, run_plan.script_run.target)
    return missing or _new_runner(name).why_unavailable(_with_namespace(run_plan, options, name))


def _new_runner(name: str) -> Runner:
    module, kind = _RUNNERS[name]
    return cast(Runner, getattr(importlib.import_module(f"airflow_script_provider.runners.{module}"), kind)())


def _with_namespace(run_plan: RunPlan, options: Namespace, name: str) -> ScriptRun:
    """The run with its namespace, if its executor has namespaces."""
    script_run = run_plan.script_run
    if name not in choice.READ_BY["--namespace"]:
        return script_run

    def of_context() -> str | None:
        from airflow_script_provider.clusters.access import ClusterRef

        access = ClusterRef(script_run.target.conn_id, cluster_context=script_run.target.context).resolve()
        return access.namespace or access.namespace_of_context() or access.namespace_for(None)

    namespace = choice.namespace(options.namespace, os.environ, run_plan.namespace_in_file, of_context)
    return replace(script_run, target=replace(script_run.target, namespace=namespace))


def _check_terminal(options: Namespace) -> None:
    if options.tty and not sys.stdin.isatty():
        raise ValueError("-t needs a terminal on stdin; leave it out in a pipe")
    if options.tty and options.output == "json":
        raise ValueError("-t and --output json exclude each other: on a terminal, stdout shows the script's output")


def _json_line(result: ScriptResult) -> bytes:
    """The result as one line of JSON.

    Python has a surrogate for each byte of a path that is not UTF-8, and ``backslashreplace``
    writes it as JSON does.
    """
    return json.dumps(result.to_dict(), ensure_ascii=False).encode(errors="backslashreplace") + b"\n"


def _exit_code(result: ScriptResult) -> int:
    if result.status is Status.TIMEOUT:
        return TIMED_OUT
    if result.status is Status.COMPLETED:
        return 0
    return result.exit_code or NOT_RUN  # a script that was stopped may have ended with 0


def _message_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _airflow_errors() -> tuple[type[Exception], ...]:
    """The root of Airflow's errors, such as for an undefined connection. Empty without Airflow."""
    loaded = sys.modules.get("airflow_script_provider._airflow")
    return () if loaded is None else (loaded.AirflowException,)


def _report_failure(message: str, code: int) -> int:
    with contextlib.suppress(OSError):  # without a reader, the exit code still counts
        stdout.write(sys.stderr.buffer, f"{arguments.PROGRAM}: {without_controls(message)}\n".encode(errors="replace"))
    return code


if __name__ == "__main__":
    sys.exit(main())
