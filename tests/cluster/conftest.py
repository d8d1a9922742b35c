"""Fixtures of the tests that run on a real cluster."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blockbuster import blockbuster_ctx
from structlog.testing import capture_logs

from airflow_script_provider import _shielded
from airflow_script_provider.execs import run as exec_run
from airflow_script_provider.jobs import launching
from tests.cluster.airflow_start import Airflow, airflow_server
from tests.cluster.kubectl import Kubectl, kubeconfig_of_tests, kubectl_with
from tests.docker_engine import docker_engine
from tests.faulty_api import Fault, FaultyApi, faulty_api
from tests.patience import wait_for
from tests.servers import Answer, web_server

UNHURRIED = 20.0
"""Seconds for what a kill ends, where a test does not want to see five."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder needs the cluster."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    """Path of the kubeconfig."""
    return kubeconfig_of_tests()


@pytest.fixture(scope="session")
def kubectl(kubeconfig: str) -> Iterator[Kubectl]:
    """The kubectl of this cluster, without a namespace."""
    with kubectl_with(kubeconfig) as found:
        yield found


@pytest.fixture(scope="session")
def shared_namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace for all tests of this process that leave each other alone."""
    with kubectl.namespace(f"t-{uuid.uuid4().hex[:8]}") as name:
        yield name


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of this test's own."""
    with kubectl.namespace(f"t-{uuid.uuid4().hex[:8]}") as name:
        yield name


@pytest.fixture
def shared(kubeconfig: str, shared_namespace: str) -> dict[str, Any]:
    """Operator arguments for the shared namespace."""
    return {"config_file": kubeconfig, "namespace": shared_namespace}


@pytest.fixture
def own(kubeconfig: str, namespace: str) -> dict[str, Any]:
    """Operator arguments for the test's own namespace."""
    return {"config_file": kubeconfig, "namespace": namespace}


@pytest.fixture
def api(kubeconfig: str, tmp_path: Path) -> Iterator[FaultyApi]:
    """The API server behind a proxy that counts requests and makes faults."""
    with faulty_api(kubeconfig, tmp_path) as proxy:
        yield proxy


@pytest.fixture
def flaky(api: FaultyApi, namespace: str) -> dict[str, Any]:
    """Operator arguments for the test's own namespace by way of that proxy."""
    return {"config_file": api.kubeconfig, "namespace": namespace, "termination_grace_period": 1}


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kill ends may take longer than Airflow's five seconds: a busy machine may need them."""
    for module in (_shielded, exec_run, launching):
        monkeypatch.setattr(module, "ABANDON_TIMEOUT", UNHURRIED)
    monkeypatch.setattr(launching.abandon, "__defaults__", (UNHURRIED,))


@pytest.fixture(params=["in_a_worker", "deferred"])
def waiting(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Operator arguments for each way of waiting: the same must come out of both (R29)."""
    return {"deferrable": True, "defer_after": 0} if request.param == "deferred" else {}


@pytest.fixture
def nothing_blocks() -> Iterator[None]:
    """Calls of ours that block the event loop are errors; credentials are loaded in a loop of their own thread."""
    with blockbuster_ctx("airflow_script_provider") as blocking:
        for function in blocking.functions.values():
            function.can_block_in("clusters/credentials.py", "_load")
        yield


@pytest.fixture
def log() -> Iterator[list[Any]]:
    """What triggers and hooks log meanwhile."""
    with capture_logs() as entries:
        yield entries


@pytest.fixture(scope="session")
def database(kubectl: Kubectl, shared_namespace: str) -> Iterator[dict[str, str]]:
    """A PostgreSQL in a pod; the PG* variables that reach it."""
    setup = (
        "mkdir /data && chown postgres /data && cd /data && "
        "su postgres -c 'initdb -D /data/db -A trust >/dev/null && "
        "echo host all all all trust >> /data/db/pg_hba.conf && "
        "exec postgres -D /data/db -h 0.0.0.0 -k /tmp'"
    )
    container = {"name": "postgres", "image": "postgres:15-alpine", "command": ["sh", "-c", setup]}
    metadata = {"name": "postgres", "namespace": shared_namespace}
    kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}})
    probe = (
        "exec",
        "postgres",
        "-n",
        shared_namespace,
        "--",
        "psql",
        "-h",
        "127.0.0.1",
        "-U",
        "postgres",
        "-tc",
        "select 1",
    )
    wait_for(lambda: kubectl(*probe, check=False).strip() == "1", "PostgreSQL")
    address = kubectl("get", "pod", "postgres", "-n", shared_namespace, "-o", "jsonpath={.status.podIP}")
    yield {"PGHOST": address, "PGUSER": "postgres", "PGDATABASE": "postgres"}
    kubectl("delete", "pod", "postgres", "-n", shared_namespace, "--wait=false")


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """The address of a Docker engine of our own."""
    with docker_engine() as address:
        yield address


@pytest.fixture(scope="session")
def late_clock(kubeconfig: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyApi]:
    """The API server by way of a proxy whose clock a test may put forward; a connection of this name leads to it."""
    with faulty_api(kubeconfig, tmp_path_factory.mktemp("late_clock")) as api:
        yield api


@pytest.fixture(scope="session")
def airflow(
    kubeconfig: str, kubectl: Kubectl, late_clock: FaultyApi, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Airflow]:
    """A real Airflow with the DAGs of ``dags/``, whose tasks run in the namespace ``t-airflow-…``."""
    home = tmp_path_factory.mktemp("airflow")
    with (
        kubectl.namespace(f"t-airflow-{uuid.uuid4().hex[:6]}") as namespace,
        web_server() as scripts,
        faulty_api(kubeconfig, home) as slow,
    ):
        scripts.answers("/echo.sh", b'echo "$1" | tr s z')
        scripts.answers("/denied.sh", Answer(b"no connection-secret, no signature-secret", 403))
        slow.on("^DELETE .*/jobs/", Fault(delay=3))
        inline = {"kube_config": kubectl("config", "view", "--raw", "--flatten", "-o", "json")}
        settings = {
            "AIRFLOW_CONN_INLINE_CLUSTER": json.dumps({"conn_type": "kubernetes", "extra": inline}),
            "AIRFLOW_CONN_SLOW_TO_DELETE": _connection(slow),
            "AIRFLOW_CONN_LATE_CLOCK": _connection(late_clock),
            "AIRFLOW_CONN_PARTNER_API": '{"conn_type": "http", "password": "connection-secret"}',
            "AIRFLOW_VAR_SIGNATURE": "signature-secret",
            "TEST_NAMESPACE": namespace,
            "TEST_SCRIPT_URL": scripts.url,
            "AIRFLOW__SCRIPT_PROVIDER__JOB_URL": f"{scripts.url}/{{namespace}}/{{job_name}}",
        }
        with airflow_server(home, kubeconfig, Path(__file__).parent / "dags", settings) as server:
            yield replace(server, namespace=namespace)


def _connection(api: FaultyApi) -> str:
    """An Airflow connection to the API server by way of a proxy."""
    return json.dumps({"conn_type": "kubernetes", "extra": {"kube_config_path": api.kubeconfig}})


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show pods and events of the namespaces that a failed test used, and what its Airflow complained of."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]  # a pluggy result
    fixtures = getattr(item, "funcargs", {})
    if report.when == "call" and report.failed and "kubectl" in fixtures:
        for name in ("namespace", "shared_namespace"):
            if name in fixtures:
                report.sections.append((f"{name} {fixtures[name]}", fixtures["kubectl"].describe(fixtures[name])))
    if report.when == "call" and report.failed and "airflow" in fixtures:
        report.sections.append(("airflow", fixtures["airflow"].complaints()))
