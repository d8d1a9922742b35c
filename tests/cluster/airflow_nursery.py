"""A program that has imported Airflow and forks the processes of one, as told on its standard input.

Five processes that import Airflow take half a minute of CPU and a gigabyte; forked from this one they take neither.
Each then runs the same ``main()`` as the command ``airflow``. The program is PID 1 of a PID namespace
(``unshare --pid --fork --kill-child``), so that everything ends with it: what was stopped and PostgreSQL, too.

A line of input is a command, a line of output its answer:

- ``start NAME AIRFLOW-COMMAND…`` forks a process; its output goes to ``NAME.log`` in AIRFLOW_HOME.
- ``run NAME AIRFLOW-COMMAND…`` does so and waits for its end.
- ``signal NAME NUMBER`` signals the process, ``signal-group NAME NUMBER`` its children with it.
- ``running NAME`` says whether it runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tests.cluster import postgresql


class Nursery:
    """The processes that were forked, by name."""

    def __init__(self, main: Callable[[], None]) -> None:
        self._main = main
        self._home = Path(os.environ["AIRFLOW_HOME"])
        self._pids: dict[str, int] = {}

    def obey(self, command: str, name: str, *words: str) -> str:
        """Do what a line of input says; the answer."""
        match command:
            case "start":
                self._start(name, words)
                return "started"
            case "run":
                status = os.waitpid(self._start(name, words), 0)[1]
                return f"ended with {os.waitstatus_to_exitcode(status)}"
            case "signal":
                os.kill(self._pids[name], int(words[0]))
                return "signalled"
            case "signal-group":
                os.killpg(self._pids[name], int(words[0]))
                return "signalled"
            case "running":
                return "yes" if _runs(self._pids[name]) else "no"
        raise ValueError(f"unknown command {command}")

    def _start(self, name: str, words: tuple[str, ...]) -> int:
        pid = os.fork()
        if pid == 0:
            _become(self._main, words, self._home / f"{name}.log")
        self._pids[name] = pid
        return pid


def _become(main: Callable[[], None], words: tuple[str, ...], log: Path) -> NoReturn:
    """Be ``airflow WORDS`` from here on."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _redirect(0, Path(os.devnull), os.O_RDONLY)
        _redirect(1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(1, 2)
        sys.argv = ["airflow", *words]
        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  # a child must never return into its parent's code
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _redirect(descriptor: int, path: Path, flags: int) -> None:
    opened = os.open(path, flags, 0o644)
    os.dup2(opened, descriptor)
    os.close(opened)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _import_airflow() -> Callable[[], None]:
    """Import what the processes and their tasks would import one by one; the command's ``main``."""
    _give_kills_time()
    import airflow.api_fastapi.app
    import airflow.cli.commands.api_server_command
    import airflow.cli.commands.dag_processor_command
    import airflow.cli.commands.db_command
    import airflow.cli.commands.scheduler_command
    import airflow.cli.commands.triggerer_command
    import airflow.executors.local_executor
    import airflow.sdk.execution_time.task_runner  # noqa: F401  # all of these
    from airflow.__main__ import main

    _make_the_execution_api()
    gc.freeze()  # what is collected is written to, and no longer shared
    return main


def _give_kills_time() -> None:
    """Let nothing go wrong because a killed task takes longer than Airflow's five seconds: a busy machine does."""
    from airflow_script_provider import _shielded

    _shielded.ABANDON_TIMEOUT = 30.0  # for whatever imports it from here on

    from airflow.sdk.execution_time.supervisor import WatchedSubprocess

    from airflow_script_provider.hooks import _task_run

    _task_run.KILL_STATE_TIMEOUT = 10.0
    WatchedSubprocess.kill.__defaults__ = (signal.SIGINT, 60.0, False)


def _make_the_execution_api() -> None:
    """The API that triggerers and ``dags test`` keep in their process: its first request makes the routes.

    That takes seconds of CPU, and a minute on a busy machine; a trigger that asks for its connection waits for it.
    """
    import httpx
    from airflow.jobs import triggerer_job_runner
    from airflow.sdk.execution_time.supervisor import in_process_api_server

    async def ask() -> None:
        async with httpx.AsyncClient(transport=in_process_api_server().atransport, base_url="http://api") as client:
            await client.get("/health")

    asyncio.run(ask())
    triggerer_job_runner.in_process_api_server = in_process_api_server  # the same, but kept


def _import_for_dags_test() -> None:
    """What each ``airflow dags test`` would import anew, and its DAG."""
    import airflow.cli.commands.dag_command
    import airflow.providers.cncf.kubernetes.operators.job
    import airflow.providers.standard.decorators.python  # all of these

    import airflow_script_provider.hooks.node
    import airflow_script_provider.operators.exec
    import airflow_script_provider.operators.node
    import airflow_script_provider.operators.script  # noqa: F401

    with contextlib.suppress(ModuleNotFoundError):  # Airflow 3.1 has it elsewhere
        import airflow.dag_processing.dagbag  # noqa: F401


def serve(folder: Path | None) -> None:
    """Start PostgreSQL in the folder, import Airflow meanwhile, then obey until the input ends.

    Without a folder the processes are commands that run a DAG by themselves, on SQLite.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    database = postgresql.start(folder) if folder else None
    nursery = Nursery(_import_airflow())
    if folder and database:
        postgresql.wait_until_ready(folder, database)
    else:
        _import_for_dags_test()
        gc.freeze()
    print("ready", file=answers)
    for line in sys.stdin:
        print(nursery.obey(*line.split()), file=answers)


if __name__ == "__main__":
    serve(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
