"""``airflow-script`` on a cluster: in the pods of Deployments, and as Jobs."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.accounts import author, written
from tests.cluster.apps import NO_SHELL, a_deployment, nothing_runs, pods_of, rolled_out
from tests.cluster.execs import PASSES_TERM_ON, SLEEPS, STOPS_HALF_WAY
from tests.cluster.kubectl import Kubectl
from tests.command_line import airflow_script, interrupted, started
from tests.patience import PATIENCE, wait_for

IN_POD = ("-x", "kubernetes")
TASKS = """
tasks:
  migrate:
    script: 'echo "migrated by $(hostname) for $STAGE"'
    executors: [container, local, kubernetes]
    component: api
    env: {STAGE: "${env:STAGE:-staging}"}
components:
  api: {kubernetes: {deployment: web, container: main}}
flavors:
  staging: {patch: [{op: add, path: /kubernetes/namespace, value: NAMESPACE}]}
"""


@pytest.fixture(scope="module")
def apps(kubectl: Kubectl, kubeconfig: str) -> Iterator[str]:
    """The namespace of Deployments: one container, two containers, not ready, without a shell."""
    with kubectl.namespace(f"t-{uuid.uuid4().hex[:8]}") as namespace:
        kubectl.apply(a_deployment("unready", namespace, ready=False))
        rolled_out(
            kubectl,
            a_deployment("api", namespace, env=[("FROM_POD", "pod")]),
            a_deployment("web", namespace, "main", "helper"),
            a_deployment("bare", namespace, image=NO_SHELL),
        )
        yield namespace


@pytest.fixture
def env(kubeconfig: str) -> dict[str, str]:
    """The environment with the cluster's kubeconfig."""
    return {"KUBECONFIG": kubeconfig}


@pytest.fixture
def project(apps: str, tmp_path: Path) -> Path:
    """A folder with a task file."""
    (tmp_path / "airflow-script.yaml").write_text(TASKS.replace("NAMESPACE", apps))
    return tmp_path


def run(script: str, namespace: str, *options: str, deployment: str = "api", **settings: Any) -> Any:
    """Run in a pod of a Deployment."""
    return airflow_script("run", script, *IN_POD, "-n", namespace, "--deployment", deployment, *options, **settings)


def test_the_sentence(kubectl: Kubectl, apps: str, project: Path, env: dict[str, str]) -> None:
    """``airflow-script run migrate -x kubernetes -n staging`` runs in the first pod."""
    done = airflow_script("run", "migrate", "-x", "kubernetes", "-n", apps, env=env, folder=project)
    (pod,) = pods_of(kubectl, apps, "web")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"migrated by {pod} for staging\n", b"")


@pytest.mark.parametrize("how", ["environment", "flavor", "context"])
def test_the_namespace_may_come_from_elsewhere(
    how: str, kubectl: Kubectl, apps: str, project: Path, env: dict[str, str]
) -> None:
    """Without the flag, ``K8S_NAMESPACE``, the flavor or the context sets it."""
    options = ["--flavor", "staging"] if how == "flavor" else []
    if how == "environment":
        env |= {"K8S_NAMESPACE": apps}
    if how == "context":
        config = yaml.safe_load(kubectl("config", "view", "--raw", "--flatten"))
        config["contexts"][0]["context"]["namespace"] = apps
        (project / "kubeconfig").write_text(yaml.safe_dump(config))
        env = {"KUBECONFIG": str(project / "kubeconfig")}
    done = airflow_script("run", "migrate", *IN_POD, *options, env=env, folder=project)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_task_runs_in_the_pod_where_nothing_else_can(apps: str, project: Path, env: dict[str, str]) -> None:
    """``-n`` leaves only the executors that read a namespace."""
    (project / "airflow-script.yaml").write_text("tasks: {show: {script: 'echo $FROM_POD', component: api}}")
    done = airflow_script("run", "show", "-n", apps, env=env, folder=project)
    assert done.stdout == b"pod\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--deployment", "aip"],
            "Deployment NAMESPACE/aip does not exist. The namespace has: api, bare, unready, web",
        ),
        (["--deployment", "unready"], "Deployment NAMESPACE/unready has no ready pod (1 pods of ReplicaSet"),
        (["--deployment", "web"], "has several containers: main, helper. Set container to one of them."),
        (["--deployment", "web", "-c", "mian"], "has no container 'mian'. It has: main, helper."),
        (["--deployment", "bare"], "has no 'sh' (executable file not found), which must read the script"),
    ],
)
def test_errors_say_what_to_do(apps: str, env: dict[str, str], options: list[str], words: str) -> None:
    """A run that cannot start gives one line with what exists; exit code 125 (R22)."""
    done = airflow_script("run", "print(1); print(2)", *IN_POD, "-n", apps, *options, env=env)
    said = done.stderr.decode()
    assert (done.returncode, said.count("\n"), done.stdout) == (125, 1, b"")
    assert words.replace("NAMESPACE", apps) in said


def test_a_missing_namespace(env: dict[str, str], apps: str) -> None:
    """The error lists the namespaces that exist."""
    done = run("print(1); print(2)", "t-no-such", env=env)
    assert (done.returncode, b"t-no-such" in done.stderr, apps.encode() in done.stderr) == (125, True, True)


def test_no_cluster(tmp_path: Path) -> None:
    """The error names the path of the missing kubeconfig."""
    done = run("print(1); print(2)", "default", env={"KUBECONFIG": str(tmp_path / "none")})
    assert (done.returncode, f"{tmp_path}/none does not exist" in done.stderr.decode()) == (125, True)


def test_large_output_arrives_byte_for_byte(apps: str, env: dict[str, str]) -> None:
    """20 MB of any bytes arrive unchanged."""
    data = hashlib.shake_256(b"seed").digest(20_000_000)
    script = "import hashlib, os, sys; sys.stdout.buffer.write(hashlib.shake_256(b'seed').digest(20_000_000))"
    assert run(script, apps, env=env).stdout == data


def test_input_is_passed_on(apps: str, env: dict[str, str]) -> None:
    """``-i`` passes stdin on to its end."""
    script = "import sys, hashlib; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
    data = bytes(range(256)) * 8000
    done = run(script, apps, "-i", env=env, stdin=data)
    assert done.stdout.decode().strip() == hashlib.sha256(data).hexdigest()


def test_ctrl_c_ends_what_runs_in_the_pod(kubectl: Kubectl, apps: str, env: dict[str, str]) -> None:
    """Script and children are gone from the pod; exit code 130 (R3)."""
    process = started("run", SLEEPS, *IN_POD, "-n", apps, "--deployment", "api", env=env)
    assert interrupted(process)[0] == 130
    (pod,) = pods_of(kubectl, apps, "api")
    nothing_runs(kubectl, apps, pod)


def test_a_timeout_ends_what_runs_in_the_pod(kubectl: Kubectl, apps: str, env: dict[str, str]) -> None:
    """A timeout is exit code 124, and no process is left (R5)."""
    assert run(SLEEPS, apps, "--timeout", "2", env=env).returncode == 124
    (pod,) = pods_of(kubectl, apps, "api")
    nothing_runs(kubectl, apps, pod)


def test_a_rollout_in_the_middle(kubectl: Kubectl, apps: str, env: dict[str, str]) -> None:
    """A rollout that ends the script is a failure with that reason (R1, R36)."""
    rolled_out(kubectl, a_deployment("rolling", apps))
    process = started("run", SLEEPS, *IN_POD, "-n", apps, "--deployment", "rolling", env=env)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    kubectl("rollout", "restart", "deployment/rolling", "-n", apps)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, b"rollout" in err) == (137, True), err


def test_the_rights_of_exec_suffice(kubectl: Kubectl, namespace: str, kubeconfig: str, tmp_path: Path) -> None:
    """The Role of the docs suffices (R17); a refused exec names both rights."""
    rolled_out(kubectl, a_deployment("api", namespace))
    config = author(kubectl, namespace, kubeconfig, role_file="exec.yaml")
    env = {"KUBECONFIG": written(config, tmp_path)}
    assert run("print(1); print(2)", namespace, env=env).stdout == b"1\n2\n"
    kubectl("delete", "rolebinding", "author", "-n", namespace)
    kubectl("delete", "serviceaccount", "author", "-n", namespace)
    config = author(kubectl, namespace, kubeconfig, role_file="exec.yaml", drop_verb=("pods/exec", "get"))
    done = run("print(1); print(2)", namespace, env={"KUBECONFIG": written(config, tmp_path)})
    assert (done.returncode, b"Both create and get on pods/exec are needed" in done.stderr) == (125, True), done.stderr


def test_render_makes_what_kubectl_applies(kubectl: Kubectl, apps: str, env: dict[str, str]) -> None:
    """The API server accepts the objects, and they contain no value (R26)."""
    hidden = ("--arg", "token=args-secret", "--env", "TOKEN=env-secret")
    done = airflow_script("render", "print(1); print(2)", "-n", apps, "--timeout", "60", *hidden, env=env)
    assert (done.returncode, b"-secret" in done.stdout, done.stderr) == (0, False, b"")
    assert [thing["kind"] for thing in yaml.safe_load_all(done.stdout)] == ["Job", "ConfigMap", "Secret"]
    applied = kubectl("apply", "--dry-run=server", "-f", "-", stdin=done.stdout.decode())
    assert applied.count("created (server dry run)") == 3


def test_a_step_runs_as_a_job(kubectl: Kubectl, apps: str, env: dict[str, str], tmp_path: Path) -> None:
    """A step runs as its Job; stdout is the result, and Airflow prints nothing."""
    script = {"type": "inline", "content": "import sys\nprint(sys.argv[1])"}
    job = {"image": "python:3.11-slim", "timeout": 60}
    step = {"step": "s", "tool": {"kind": "script", "script": script, "args": {"n": 1}, "job": job}}
    (tmp_path / "step.yaml").write_text(json.dumps(step))
    done = airflow_script("run", "-f", "step.yaml", "-n", apps, "--output", "json", env=env, folder=tmp_path)
    result = json.loads(done.stdout)
    assert (done.returncode, result["value"], done.stderr) == (0, {"n": 1}, b'{"n": 1}\n')
    assert result["job_name"] in kubectl.names("jobs", apps)


def test_a_connection_of_airflow(apps: str, kubeconfig: str, tmp_path: Path) -> None:
    """``--conn-id`` needs no database of Airflow; stdout has only the script's output."""
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": kubeconfig, "namespace": apps}}
    settings = {
        "AIRFLOW_CONN_STAGING": json.dumps(connection),
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "True",  # Airflow prints this on stdout by default
    }
    done = airflow_script("run", "print(1); print(2)", "-x", "job", "--conn-id", "staging", env=settings)
    assert (done.returncode, done.stdout) == (0, b"1\n2\n"), done.stderr
    assert not list(tmp_path.glob("*.db"))


def test_ctrl_c_deletes_the_job(kubectl: Kubectl, apps: str, env: dict[str, str]) -> None:
    """Ctrl+C deletes a Job with its pod, and reports it (R3)."""
    ended, out, err = interrupted(
        started("run", SLEEPS, "-x", "job", "-n", apps, "--image", "python:3.11-slim", env=env)
    )
    assert (ended, out) == (130, b"up\n")
    assert b"deleted" in err
    wait_for(lambda: "python" not in kubectl("get", "pods", "-n", apps, "-l", "job-name"), "the end of the Job's pod")


def test_a_pod_that_is_deleted(kubectl: Kubectl, namespace: str, env: dict[str, str]) -> None:
    """Its first process passes SIGTERM on, and the script ends with 0 half-way: not a success (R1, R36)."""
    rolled_out(kubectl, a_deployment("api", namespace, command=["python3", "-c", PASSES_TERM_ON]))
    (pod,) = pods_of(kubectl, namespace, "api")
    process = started("run", STOPS_HALF_WAY, *IN_POD, "-n", namespace, "--deployment", "api", env=env)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    kubectl("delete", "pod", "-n", namespace, pod, "--wait=false")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (125, b"bye\n"), err
    assert b"outcome unknown: script ended with exit code 0 after a SIGTERM; the pod is being deleted" in err
