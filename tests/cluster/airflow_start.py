"""Starts a real Airflow: PostgreSQL, API server, scheduler, DAG processor, and triggerers as a test asks for them."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.cluster import postgresql
from tests.cluster.airflow_server import AirflowServer
from tests.patience import LONG, PATIENCE, wait_for
from tests.servers import free_port

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Processes:
    """The processes of an Airflow, forked and signalled by ``airflow_nursery.py``."""

    orders: IO[str]
    answers: IO[str]
    home: Path

    def tell(self, *words: str) -> str:
        """Give an order and return the answer."""
        print(*words, file=self.orders, flush=True)
        return self.answer()

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """A process and its children do nothing during the block."""
        self.tell("signal-group", name, str(int(signal.SIGSTOP)))
        try:
            yield
        finally:
            self.tell("signal-group", name, str(int(signal.SIGCONT)))

    def answer(self) -> str:
        """The next answer."""
        line = self.answers.readline()
        if not line:
            raise AssertionError(f"Airflow's processes are gone: {(self.home / 'nursery.log').read_text()}")
        return line.strip()


@dataclass(frozen=True)
class Triggerer:
    """A triggerer: a process that keeps it alive in the database and one that runs the triggers."""

    name: str
    job_id: int
    processes: Processes
    database: Path

    def kill(self) -> None:
        """End both processes at once, as a lost machine does."""
        self._signal("signal-group", signal.SIGKILL)
        self.ended()
        self._be_silent()

    def terminate(self) -> None:
        """SIGTERM to the main process, as a deployment's update sends it; returns when it has ended."""
        self._signal("signal", signal.SIGTERM)
        self.ended()

    def freeze(self) -> None:
        """SIGSTOP to both processes, as a machine that hangs."""
        self._signal("signal-group", signal.SIGSTOP)
        self._be_silent()

    def thaw(self) -> None:
        """Let both go on."""
        self._signal("signal-group", signal.SIGCONT)

    def ended(self) -> None:
        """Wait until it runs no longer."""
        wait_for(lambda: self.processes.tell("running", self.name) == "no", f"the end of {self.name}")

    def log(self) -> list[str]:
        """What it has written, but for what went into the logs of tasks."""
        return (self.processes.home / f"{self.name}.log").read_text("utf-8", "replace").splitlines()

    def _signal(self, order: str, number: signal.Signals) -> None:
        self.processes.tell(order, self.name, str(int(number)))

    def _be_silent(self) -> None:
        """Have its last heartbeat long ago: another triggerer takes over now, and never because this one is slow."""
        statement = "update job set latest_heartbeat = latest_heartbeat - interval '1 day' where id = %s"
        postgresql.query(self.database, statement, self.job_id)


@dataclass(frozen=True)
class Airflow(AirflowServer):
    """A running Airflow: its REST API, its triggerers and the rows of its triggers."""

    processes: Processes = field(kw_only=True)
    database: Path = field(kw_only=True)
    triggerers: list[Triggerer] = field(default_factory=list)

    @property
    def triggerer(self) -> Triggerer:
        """The one triggerer that runs between tests: a test that starts another ends one."""
        return self.triggerers[-1]

    def start_triggerer(self) -> Triggerer:
        """Start one more, which is ``triggerer`` from now on; returns when it has told the database of itself."""
        known = self._triggerer_jobs()
        name = f"triggerer-{len(self.triggerers) + 1}"
        self.processes.tell("start", name, "triggerer", "--skip-serve-logs")
        wait_for(lambda: self._triggerer_jobs() - known, f"{name} ({self.home / name}.log)")
        (job_id,) = self._triggerer_jobs() - known
        self.triggerers.append(Triggerer(name, job_id, self.processes, self.database))
        return self.triggerer

    def kept_while_deferred(self) -> list[Any]:
        """What the database keeps of deferred tasks, in plain JSON: the arguments of triggers and of the resume."""
        queries = ("select kwargs from trigger", "select next_kwargs from task_instance where next_kwargs is not null")
        kept = [value for query in queries for value in postgresql.query(self.database, query) if value is not None]
        return [json.loads(value) if isinstance(value, str) else value for value in kept]

    def shorten_startup_timeout(self, job: str) -> None:
        """Let the row of the trigger that follows a Job say a startup_timeout of a second, for the next triggerer."""
        change = "update trigger set kwargs = regexp_replace(kwargs, '(\"startup_timeout\": )\\d+', '\\11')"
        postgresql.query(self.database, f"{change} where strpos(kwargs, %s) > 0", f'"{job}"')

    def complaints(self) -> str:
        """The last lines at ERROR in the logs of its processes, such as of a task that the scheduler failed."""
        said = (
            (log.stem, line)
            for log in self.home.glob("*.log")
            for line in log.read_text("utf-8", "replace").split("\n")
        )
        lines = [f"{name}: {line}" for name, line in said if "[error " in line or "[critical " in line]
        return "\n".join(lines[-40:])

    def _triggerer_jobs(self) -> set[int]:
        jobs: list[dict[str, Any]] = self.call("GET", "jobs?job_type=TriggererJob")["jobs"]
        return {job["id"] for job in jobs}


@contextmanager
def airflow_server(home: Path, kubeconfig: str, dags: Path, settings: dict[str, str]) -> Iterator[Airflow]:
    """Airflow with these DAGs and one triggerer, until the end of the block; all that it started ends with it."""
    # Not in pytest's folders: PostgreSQL runs as a user that may not look into them.
    with tempfile.TemporaryDirectory(prefix="airflow-postgresql-", ignore_cleanup_errors=True) as folder:
        database, port = Path(folder), free_port()
        environment = _environment(home, port, kubeconfig, dags, database) | settings
        with nursery(home, environment, str(database)) as processes:
            url = f"http://127.0.0.1:{port}"
            _start(processes)
            wait_for(lambda: _is_healthy(url), f"Airflow ({home}/*.log)")
            wait_for(lambda: _serves_tasks(url), f"the API for tasks ({home}/api-server.log)")
            airflow = Airflow(url, home, _token(url), processes=processes, database=database)
            airflow.start_triggerer()
            yield airflow


@contextmanager
def nursery(home: Path, environment: dict[str, str], *words: str) -> Iterator[Processes]:
    """The program that forks Airflow's processes; a word is the folder of its database, else it has SQLite."""
    command = ["unshare", "-p", "--fork", "--kill-child", "--mount-proc", sys.executable]
    with (home / "nursery.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-m", "tests.cluster.airflow_nursery", *words],
            cwd=_ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    if process.stdin is None or process.stdout is None:
        raise AssertionError("pipes were asked for")
    try:
        yield Processes(process.stdin, process.stdout, home)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdin.close()
        process.stdout.close()


def migrate(processes: Processes) -> None:
    """Wait until Airflow is imported, and make its database."""
    processes.answer()
    if (answer := processes.tell("run", "migrate", "db", "migrate")) != "ended with 0":
        raise AssertionError(f"airflow db migrate {answer}: {(processes.home / 'migrate.log').read_text()}")


def _start(processes: Processes) -> None:
    migrate(processes)
    processes.tell("start", "api-server", "api-server")
    processes.tell("start", "dag-processor", "dag-processor")
    processes.tell("start", "scheduler", "scheduler", "--skip-serve-logs")


def _environment(home: Path, port: int, kubeconfig: str, dags: Path, database: Path) -> dict[str, str]:
    programs = Path(sys.executable).parent
    return dict(os.environ) | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(_ROOT),
        "KUBECONFIG": kubeconfig,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgresql.url(database),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": postgresql.url(database),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(16),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
        # No process is taken for dead because the machine is busy.
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": str(PATIENCE),
        "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": f"{PATIENCE:.0f}",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": str(LONG),
        "AIRFLOW__TRIGGERER__RUNNER_HEALTH_CHECK_THRESHOLD": str(LONG),
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(LONG),
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": str(PATIENCE),
    }


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=PATIENCE) as answer:
            health = json.load(answer)
    except (OSError, ValueError):
        return False
    return all(health[part]["status"] == "healthy" for part in ("scheduler", "dag_processor", "metadatabase"))


def _serves_tasks(url: str) -> bool:
    """Whether the API that workers talk to has made its routes: the first request does, for seconds of CPU."""
    try:
        with urllib.request.urlopen(f"{url}/execution/health", timeout=PATIENCE) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _token(url: str) -> str:
    with urllib.request.urlopen(f"{url}/auth/token", timeout=PATIENCE) as answer:
        return str(json.load(answer)["access_token"])
