"""Each argument of the operator, as the cluster sees it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import V1EmptyDirVolumeSource, V1ResourceRequirements, V1Toleration, V1Volume, V1VolumeMount

from airflow_script_provider._airflow import AirflowFailException, AirflowSkipException
from airflow_script_provider.operators.script import KubernetesScriptOperator
from airflow_script_provider.sources import HttpScript
from tests.cluster.kubectl import Kubectl
from tests.cluster.tasks import meanwhile, run_task
from tests.cluster.told_to_end import UNTIL_TOLD, tell_all
from tests.patience import wait_for
from tests.servers import WebServer, web_server


@pytest.fixture
def own(own: dict[str, Any], waiting: dict[str, Any]) -> dict[str, Any]:
    """Everything here holds in a worker and deferred (R29)."""
    return own | waiting


@pytest.fixture
def pod_and_job(own: dict[str, Any], kubectl: Kubectl) -> Any:
    """Run a script with some arguments; its Job and its pod as the API server has them."""

    def run(**arguments: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        result = run_task(**({"script": "print(1)"} | arguments), **own).succeeded().result
        job = kubectl.items("jobs", own["namespace"])[0]
        return kubectl.items("pods", own["namespace"])[0], job, result

    return run


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """A web server, to which the connection ``scripts`` logs in."""
    with web_server() as server:
        fields = {"conn_type": "http", "host": server.url, "login": "bob", "password": "sesame"}
        monkeypatch.setenv("AIRFLOW_CONN_SCRIPTS", json.dumps(fields))
        yield server


def test_a_script_and_files_of_a_connection(own: dict[str, Any], scripts: WebServer) -> None:
    """Read once, in the worker, with the connection's login, and pinned; a worker that resumes reads nothing (R24)."""
    text = b"from lib.helpers import twice\nprint(twice(21))"
    run = run_task(
        script=scripts.answers("/job.py", text),
        script_conn_id="{{ 'scripts' }}",
        sha256=hashlib.sha256(text).hexdigest(),
        files={"lib/helpers.py": HttpScript(scripts.answers("/helpers.py", b"def twice(x): return 2 * x"))},
        **own,
    ).succeeded()
    assert run.result["output"] == "42\n"
    assert run.result["script_sha256"] == hashlib.sha256(text).hexdigest()
    assert list(run.result["files"]) == ["lib/helpers.py"]
    asked = {request.path: "authorization" in request.headers for request in scripts.requests}
    assert (asked, len(scripts.requests)) == ({"/job.py": True, "/helpers.py": False}, 2)


def test_another_digest_creates_nothing(own: dict[str, Any], kubectl: Kubectl) -> None:
    """A script that is not the expected one is not deferred either."""
    run = run_task(script="print(1)", sha256="0" * 64, **own)
    assert "not the expected 0000" in run.headline
    assert kubectl.names("jobs", own["namespace"]) == []


def test_a_rendered_script_with_arguments_of_its_own(own: dict[str, Any]) -> None:
    """Jinja renders the text where it is asked to; arguments are appended to argv as they are (R24)."""
    arguments = ["--of", "it's $(id) \n ünï", "{{ run_id }}"]
    script = "import sys, json\nprint(json.dumps(['{{ run_id }}', *sys.argv[1:]]))"
    run = run_task(script=script, template_script=True, arguments=arguments, **own).succeeded()
    assert run.result["value"] == ["manual__1", "--of", "it's $(id) \n ünï", "manual__1"]


def test_a_name_with_dots(own: dict[str, Any]) -> None:
    """The program sees a variable with dots and dashes in its name, whose value is in the Secret."""
    name = "spring.data-source.url"
    run = run_task(script=f"import os, json; print(json.dumps([os.environ['{name}']]))", env={name: "x"}, **own)
    assert run.succeeded().xcoms["value"] == ["x"]


def test_another_user_and_requirements(own: dict[str, Any]) -> None:
    """A user who can write nothing but /tmp and HOME, with requirements that were installed under the same bounds."""
    script = """
import json, os, pathlib, six
pathlib.Path(os.environ["HOME"], "x").write_text("1")
print(json.dumps([os.getuid(), os.access("/", os.W_OK), os.access("/tmp", os.W_OK), six.__version__]))
"""
    run = run_task(script=script, run_as_uid=1234, install_dependencies=["six==1.16.0"], **own).succeeded()
    assert run.result["value"] == [1234, False, True, "1.16.0"]


def test_a_job_is_kept_until_its_outcome_is_read(own: dict[str, Any], kubectl: Kubectl) -> None:
    """While nobody has read the outcome the Job has ``unread_ttl``, afterwards the author's TTL (R9)."""
    seen: list[int] = []

    def look() -> None:
        job = wait_for(lambda: kubectl.items("jobs", own["namespace"]), "the Job")[0]
        seen.append(job["spec"]["ttlSecondsAfterFinished"])
        tell_all(kubectl, own["namespace"])

    looking = meanwhile(look)
    run_task(script=UNTIL_TOLD, unread_ttl=timedelta(hours=2), ttl_seconds_after_finished=45, **own).succeeded()
    looking.join()
    seen.append(kubectl.items("jobs", own["namespace"])[0]["spec"]["ttlSecondsAfterFinished"])
    assert seen == [7200, 45]


@pytest.mark.parametrize(
    ("script", "ttl"), [("print(1)", 45), ("raise SystemExit(3)", 7200), ("raise SystemExit(99)", 45)],
    ids=["success", "failure", "skipped"],
)  # fmt: skip
def test_a_failed_job_is_kept_for_a_time_of_its_own(
    own: dict[str, Any], kubectl: Kubectl, script: str, ttl: int
) -> None:
    """``keep_failed`` leaves the pod of a failure to be looked at; other Jobs go as before (R21)."""
    times: dict[str, Any] = {"ttl_seconds_after_finished": 45, "keep_failed": timedelta(hours=2)}
    run_task(script=script, backoff_limit=0, skip_on_exit_code=99, **times, **own)
    (job,) = kubectl.items("jobs", own["namespace"])
    assert job["spec"]["ttlSecondsAfterFinished"] == ttl


def test_a_script_that_cannot_start(own: dict[str, Any], kubectl: Kubectl) -> None:
    """``startup_timeout`` ends it, and its Job (R5)."""
    lacks: dict[str, Any] = {"env_from": [{"secretRef": {"name": "missing"}}]}
    run = run_task(script="print(1)", startup_timeout=2, **lacks, **own)
    assert "did not start within startup_timeout of 2 s" in run.headline
    assert kubectl.names("jobs", own["namespace"]) == []


def test_exit_codes_that_skip_or_are_final(own: dict[str, Any]) -> None:
    """Neither is tried again, whatever ``backoff_limit`` says; the XCom has both."""
    codes: dict[str, Any] = {"skip_on_exit_code": [99, 100], "fail_on_exit_code": 4, "backoff_limit": 2}
    skipped = run_task(script="print([1])\nraise SystemExit(100)", **codes, **own)
    final = run_task(script="print([2])\nraise SystemExit(4)", **codes, **own)
    assert (type(skipped.error), type(final.error)) == (AirflowSkipException, AirflowFailException)
    assert [run.xcoms["value"] for run in (skipped, final)] == [[1], [2]]
    assert [len(run.result["attempts"]) for run in (skipped, final)] == [1, 1]


def test_a_context_of_a_kubeconfig(kubeconfig: str, namespace: str, waiting: dict[str, Any], tmp_path: Path) -> None:
    """config_file, cluster_context and namespace lead worker and triggerer to one place, past the current context."""
    config = yaml.safe_load(Path(kubeconfig).read_text())
    config["contexts"].append({**config["contexts"][0], "name": "the-right-one"})
    config["clusters"].append({"name": "elsewhere", "cluster": {"server": "https://127.0.0.1:9"}})
    config["contexts"].append({"name": "the-wrong-one", "context": {"cluster": "elsewhere", "user": "nobody"}})
    config["users"].append({"name": "nobody", "user": {}})
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config | {"current-context": "the-wrong-one"}))
    run = run_task(
        script="print([1])", config_file=str(path), cluster_context="the-right-one", namespace=namespace, **waiting
    ).succeeded()
    assert (run.result["value"], run.result["namespace"]) == ([1], namespace)


def test_a_connection_to_the_cluster(
    kubeconfig: str, namespace: str, waiting: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """kubernetes_conn_id leads worker and triggerer to one place, and its namespace is the default (R16)."""
    extra = {"kube_config_path": kubeconfig, "namespace": namespace}
    monkeypatch.setenv("AIRFLOW_CONN_A_CLUSTER", json.dumps({"conn_type": "kubernetes", "extra": extra}))
    run = run_task(script="print([1])", kubernetes_conn_id="a_cluster", **waiting).succeeded()
    assert (run.result["value"], run.result["namespace"]) == ([1], namespace)


def test_defaults_are_restricted(pod_and_job: Any) -> None:
    """No token, no privilege, no capability, the runtime's seccomp profile; no shell before the interpreter (R18)."""
    pod, job, _ = pod_and_job()
    container = pod["spec"]["containers"][0]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert (container["command"], container["args"]) == (["python3", "-u"], ["/scripts/script.py"])
    spec = job["spec"]
    assert spec["activeDeadlineSeconds"] == 4500, "the sum of the three timeouts"
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (3, 300)


def test_services_of_the_namespace_set_no_variables(own: dict[str, Any], kubectl: Kubectl) -> None:
    """A Service named as the image's own variables are does not shadow them, unless the author asks for that."""
    kubectl("create", "service", "clusterip", "database", "--tcp=5432", "-n", own["namespace"])
    script = "import json, os\nprint(json.dumps(os.environ.get('DATABASE_PORT')))"
    assert run_task(script=script, **own).succeeded().result["value"] is None
    asked = run_task(script=script, pod_overrides={"spec": {"enableServiceLinks": True}}, **own).succeeded()
    assert asked.result["value"].startswith("tcp://")


def test_labels_and_annotations_go_on_job_and_pod(pod_and_job: Any) -> None:
    """The author's labels and annotations stand beside ours."""
    pod, job, _ = pod_and_job(labels={"team": "data"}, annotations={"note": "any text, ünï"})
    for thing in (pod, job):
        assert thing["metadata"]["labels"]["team"] == "data"
        assert thing["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "airflow-script-provider"
        assert thing["metadata"]["annotations"]["note"] == "any text, ünï"


def test_scheduling_arguments(pod_and_job: Any) -> None:
    """Node selector, affinity and tolerations arrive, as dicts or as models of the client."""
    term = {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    pod, _, _ = pod_and_job(
        node_selector={"kubernetes.io/hostname": "node-2"},
        affinity=affinity,
        tolerations=[V1Toleration(key="gpu", operator="Exists", effect="NoSchedule")],
    )
    assert pod["spec"]["nodeName"] == "node-2"
    assert pod["spec"]["affinity"] == affinity
    assert {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["spec"]["tolerations"]


def test_volumes_resources_and_models(pod_and_job: Any) -> None:
    """Volumes, mounts and resources arrive, as models of the client too."""
    pod, _, result = pod_and_job(
        script="open('/data/x', 'w').write('1')\nprint('written')",
        volumes=[V1Volume(name="data", empty_dir=V1EmptyDirVolumeSource())],
        volume_mounts=[V1VolumeMount(name="data", mount_path="/data")],
        container_resources=V1ResourceRequirements(requests={"cpu": "50m"}, limits={"memory": "128Mi"}),
    )
    assert result["output"] == "written\n"
    expected = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}}
    assert pod["spec"]["containers"][0]["resources"] == expected


def test_env_from_and_env(own: dict[str, Any], kubectl: Kubectl) -> None:
    """env_from brings what exists already, env wins over it."""
    metadata = {"name": "settings", "namespace": own["namespace"]}
    kubectl.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"A": "map", "B": "map"}})
    run = run_task(
        script="import os\nprint(os.environ['A'], os.environ['B'])",
        env={"B": "env"},
        env_from=[{"configMapRef": {"name": "settings"}}],
        **own,
    ).succeeded()
    assert run.result["output"] == "map env\n"


def test_durations_as_timedelta(pod_and_job: Any) -> None:
    """timeout, TTL and grace period take timedelta; None means for ever."""
    pod, job, _ = pod_and_job(
        timeout=timedelta(minutes=2),
        ttl_seconds_after_finished=timedelta(hours=1),
        termination_grace_period=timedelta(seconds=7),
        backoff_limit=0,
    )
    assert job["spec"]["activeDeadlineSeconds"] == 120 + 3600 + 300  # the work, and all that comes before it
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600
    assert pod["spec"]["terminationGracePeriodSeconds"] == 7
    assert job["spec"]["backoffLimit"] == 0


def test_no_deadline_and_no_ttl(pod_and_job: Any) -> None:
    """timeout=None and ttl_seconds_after_finished=None leave the fields out."""
    _, job, _ = pod_and_job(timeout=None, ttl_seconds_after_finished=None)
    assert "activeDeadlineSeconds" not in job["spec"]
    assert "ttlSecondsAfterFinished" not in job["spec"]


def test_execution_timeout_bounds_the_deadline(pod_and_job: Any) -> None:
    """The Job's deadline is never later than the task's (R5)."""
    _, job, _ = pod_and_job(execution_timeout=timedelta(seconds=90))
    assert job["spec"]["activeDeadlineSeconds"] == 90


def test_name_pull_policy_and_pull_secrets(pod_and_job: Any) -> None:
    """name replaces script-<task>; pull secrets may be plain names."""
    pod, job, _ = pod_and_job(name="nightly", image_pull_policy="Never", image_pull_secrets=["registry", {"name": "b"}])
    assert job["metadata"]["name"].startswith("nightly-")
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == "Never"
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}, {"name": "b"}]


def test_service_account_mounts_its_token(own: dict[str, Any]) -> None:
    """Only with service_account_name is a token mounted."""
    script = "import os\nprint(os.path.exists('/var/run/secrets/kubernetes.io/serviceaccount/token'))"
    with_account = run_task(script=script, service_account_name="default", **own).succeeded()
    without = run_task(script=script, **own).succeeded()
    assert (with_account.result["value"], without.result["output"]) == (None, "False\n")
    assert with_account.result["output"] == "True\n"


def test_pod_overrides_are_merged_by_key(pod_and_job: Any) -> None:
    """A partial template changes what it names, and leaves the rest."""
    container = {"name": "script", "env": [{"name": "X", "value": "1"}], "workingDir": "/tmp"}
    pod, _, result = pod_and_job(
        script="import os\nprint(os.getcwd(), os.environ['X'], os.environ['Y'])",
        env={"Y": "2"},
        pod_overrides={"spec": {"containers": [container], "hostname": "box"}},
    )
    assert result["output"] == "/tmp 1 2\n"
    assert pod["spec"]["hostname"] == "box"
    assert [c["name"] for c in pod["spec"]["containers"]] == ["script"]


def test_a_field_that_the_api_server_drops_is_named(kubectl: Kubectl, shared: dict[str, Any]) -> None:
    """1.34 knows it, but does not keep it by default; older ones refuse it, newer ones have it (R16, R22)."""
    run = run_task(script="print(1)", pod_overrides={"spec": {"hostnameOverride": "box"}}, **shared)
    dropped = "did not keep spec.template.spec.hostnameOverride of the Job"
    assert any(dropped in line for line in run.warnings) is (kubectl.minor == 34)  # the version
    assert (run.error is None) is (kubectl.minor >= 34)
    assert run.error is None or "hostnameOverride" in str(run.error)


def test_pod_overrides_may_remove_what_has_a_default(pod_and_job: Any) -> None:
    """Kubernetes' own value holds, and the run is followed to its end (R6)."""
    pod, _, result = pod_and_job(pod_overrides={"spec": {"terminationGracePeriodSeconds": None}})
    assert (pod["spec"]["terminationGracePeriodSeconds"], result["status"]) == (30, "completed")


def test_unknown_field_in_overrides_is_refused_by_the_api(own: dict[str, Any], kubectl: Kubectl) -> None:
    """A field that Kubernetes does not know is an error, not ignored."""
    run = run_task(script="print(1)", pod_overrides={"spec": {"nodeSelctor": {}}}, **own)
    assert 'unknown field "spec.template.spec.nodeSelctor"' in str(run.error)
    assert kubectl.names("jobs", own["namespace"]) == []


def test_interpreter_and_node_image(own: dict[str, Any]) -> None:
    """A list before the script's path; without one the image decides."""
    by_image = run_task(script="console.log(process.argv[2])", image="node:20-slim", args={"a": 1}, **own).succeeded()
    assert by_image.result["value"] == {"a": 1}
    explicit = run_task(script="print(__debug__)", interpreter=["python3", "-O"], **own).succeeded()
    assert explicit.result["output"] == "False\n"


def test_dry_run_prints_what_kubectl_takes(own: dict[str, Any], kubectl: Kubectl, capsys: Any) -> None:
    """The manifests of a dry run are valid for the API server, and hold no value of env or args (R26)."""
    operator = KubernetesScriptOperator(
        task_id="dry", script="print(1)", args={"k": "s3cret"}, env={"E": "hush"}, **own
    )
    operator.dry_run()
    printed = capsys.readouterr().out
    assert "s3cret" not in printed
    assert "hush" not in printed
    created = kubectl("apply", "--dry-run=server", "-f", "-", stdin=printed)
    assert created.count("created (server dry run)") == 3
