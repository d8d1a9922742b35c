"""The objects of a request, as the API takes them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from airflow_script_provider.kube.job import manifest
from airflow_script_provider.kube.nodes.plan import Mode, NodePlan, OnNodes
from airflow_script_provider.kube.request import provenance
from airflow_script_provider.kube.request.interpreters import Interpreter
from airflow_script_provider.script import Script
from tests.builders import LAUNCH_ID, a_request, a_script, a_task

HI = "print('hi')\n"
HI_SHA256 = a_script(HI).sha256
OUR_LABELS = {
    "app.kubernetes.io/managed-by": "airflow-script-provider",
    "airflow-script-provider/launch-id": LAUNCH_ID,
}
SCRIPT_ANNOTATIONS = {
    "airflow-script-provider/script-sha256": HI_SHA256,
    "airflow-script-provider/script-origin": "inline",
    "airflow-script-provider/script-bytes": "12",
}

MINIMAL_JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {
        "name": "script-load-0123456789",
        "namespace": "etl",
        "labels": OUR_LABELS,
        "annotations": SCRIPT_ANNOTATIONS,
    },
    "spec": {
        "backoffLimit": 3,
        "podFailurePolicy": {
            "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
        },
        "ttlSecondsAfterFinished": 86400,
        "template": {
            "metadata": {"labels": OUR_LABELS, "annotations": SCRIPT_ANNOTATIONS},
            "spec": {
                "restartPolicy": "Never",
                "shareProcessNamespace": True,
                "enableServiceLinks": False,
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 30,
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [
                    {
                        "name": "script",
                        "image": "python:3.11-slim",
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["python3", "-u"],
                        "args": ["/scripts/script.py"],
                        "env": [],
                        "volumeMounts": [
                            {"name": "airflow-script", "mountPath": "/scripts", "subPath": "..data", "readOnly": True}
                        ],
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    }
                ],
                "volumes": [
                    {
                        "name": "airflow-script",
                        "configMap": {
                            "name": "script-load-0123456789-script",
                            "defaultMode": 0o555,
                            "items": [{"key": "script", "path": "script.py"}],
                        },
                    }
                ],
            },
        },
    },
}

FULL_OPTIONS: dict[str, Any] = {
    "image": "registry.example.com:5000/team/etl:7",
    "interpreter": ["bash", "-c", "exec $0"],
    "run_as_uid": 1000,
    "container_resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "2Gi"}},
    "env_from": [{"configMapRef": {"name": "settings"}}],
    "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    "volume_mounts": [{"name": "data", "mountPath": "/data"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "node_selector": {"disk": "ssd"},
    "labels": {"team": "sales"},
    "annotations": {"note": "nightly"},
    "image_pull_secrets": ["registry", {"name": "other"}],
    "image_pull_policy": "Always",
    "service_account_name": "loader",
    "timeout": 900,
    "backoff_limit": 1,
    "ttl_seconds_after_finished": None,
    "termination_grace_period": 5,
    "skip_on_exit_code": 99,
    "fail_on_exit_code": [2, 1],
    "pod_overrides": {"spec": {"priorityClassName": "high", "containers": [{"name": "proxy", "image": "envoy:1"}]}},
}
FULL_LABELS = {
    "team": "sales",
    **OUR_LABELS,
    "airflow-script-provider/dag-id": "etl",
    "airflow-script-provider/task-id": "load",
    "airflow-script-provider/task-instance": a_task().digest,
    "airflow-script-provider/try-number": "1",
    "airflow-script-provider/request": "abcdef0123",
}
FULL_ANNOTATIONS = {
    "note": "nightly",
    **SCRIPT_ANNOTATIONS,
    **provenance.annotation({"lib/a.sh": a_script("x")}),
    "airflow-script-provider/dag-id": "etl",
    "airflow-script-provider/task-id": "load",
    "airflow-script-provider/run-id": "r1",
    "airflow-script-provider/map-index": "-1",
    "airflow-script-provider/try-number": "1",
    "airflow-script-provider/max-tries": "2",
}


def from_secret(variable: str) -> dict[str, Any]:
    """A variable of the container that Kubernetes reads from the launch's Secret."""
    reference = {"name": "script-load-0123456789-env", "key": variable}
    return {"name": variable, "valueFrom": {"secretKeyRef": reference}}


FULL_JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {
        "name": "script-load-0123456789",
        "namespace": "etl",
        "labels": FULL_LABELS,
        "annotations": FULL_ANNOTATIONS,
    },
    "spec": {
        "backoffLimit": 1,
        "activeDeadlineSeconds": 900,
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": "script", "operator": "In", "values": [1, 2, 99]},
                },
            ]
        },
        "template": {
            "metadata": {"labels": FULL_LABELS, "annotations": FULL_ANNOTATIONS},
            "spec": {
                "restartPolicy": "Never",
                "shareProcessNamespace": True,
                "enableServiceLinks": False,
                "automountServiceAccountToken": True,
                "terminationGracePeriodSeconds": 5,
                "securityContext": {
                    "seccompProfile": {"type": "RuntimeDefault"},
                    "runAsUser": 1000,
                    "runAsNonRoot": True,
                },
                "containers": [
                    {
                        "name": "script",
                        "image": "registry.example.com:5000/team/etl:7",
                        "imagePullPolicy": "Always",
                        "command": ["bash", "-c", "exec $$0"],
                        "args": ["/scripts/script.sh", "$(AIRFLOW_SCRIPT_ARGS)"],
                        "env": [
                            {"name": "TMPDIR", "value": "/tmp"},
                            {"name": "USER", "value": "script"},
                            {"name": "LOGNAME", "value": "script"},
                            from_secret("HOME"),
                            from_secret("AIRFLOW_SCRIPT_ARGS"),
                        ],
                        "envFrom": [{"configMapRef": {"name": "settings"}}],
                        "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "2Gi"}},
                        "volumeMounts": [
                            {"name": "airflow-script", "mountPath": "/scripts", "subPath": "..data", "readOnly": True},
                            {"name": "airflow-tmp", "mountPath": "/tmp"},
                            {"name": "airflow-home", "mountPath": "/home/script"},
                            {"name": "data", "mountPath": "/data"},
                        ],
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                            "readOnlyRootFilesystem": True,
                        },
                    },
                    {"name": "proxy", "image": "envoy:1"},
                ],
                "volumes": [
                    {
                        "name": "airflow-script",
                        "configMap": {
                            "name": "script-load-0123456789-script",
                            "defaultMode": 0o555,
                            "items": [
                                {"key": "script", "path": "script.sh"},
                                {"key": "file-0", "path": "lib/a.sh"},
                            ],
                        },
                    },
                    {"name": "airflow-tmp", "emptyDir": {}},
                    {"name": "airflow-home", "emptyDir": {}},
                    {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
                ],
                "serviceAccountName": "loader",
                "imagePullSecrets": [{"name": "registry"}, {"name": "other"}],
                "nodeSelector": {"disk": "ssd"},
                "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
                "tolerations": [{"key": "gpu", "operator": "Exists"}],
                "priorityClassName": "high",
            },
        },
    },
}


def test_the_job_of_a_minimal_request() -> None:
    """Without options the pod has what the ``baseline`` standard asks for, and nothing more."""
    assert manifest.job(a_request(HI)) == MINIMAL_JOB


def test_the_job_of_a_full_request() -> None:
    """Every option has its place in the Job."""
    request = a_request(
        HI, task=a_task(), args={"a": 1}, env={"HOME": "/h"}, files={"lib/a.sh": a_script("x")}, deadline=900,
        **FULL_OPTIONS,
    )  # fmt: skip
    assert manifest.job(request) == FULL_JOB


@pytest.mark.parametrize(
    ("ttl", "unread_ttl", "first", "when_read"),
    [
        (300, 86400, 86400, 300),
        (0, timedelta(minutes=1), 60, 0),
        (600, 60, 600, None),
        (None, 60, None, None),
    ],
)
def test_an_unread_job_is_kept_longer(ttl: Any, unread_ttl: Any, first: int | None, when_read: int | None) -> None:
    """The author's TTL counts once the outcome was read, unless it is the longer one anyhow (R9)."""
    request = a_request(ttl_seconds_after_finished=ttl, unread_ttl=unread_ttl)
    assert manifest.job(request)["spec"].get("ttlSecondsAfterFinished") == first
    assert request.ttl_when_read == when_read


def test_a_job_that_nobody_may_mark_has_the_authors_ttl() -> None:
    """Without the right to change the Job later nothing is put off (R17)."""
    request = replace(a_request(), may_be_marked=False)
    assert manifest.job(request)["spec"]["ttlSecondsAfterFinished"] == 300
    assert request.ttl_when_read is None


def test_the_config_map_holds_script_and_files() -> None:
    """Texts lie under keys of ours; the volume gives them their paths."""
    request = a_request(HI, files={"lib/ü.py": a_script("x = 1\n")})
    assert manifest.with_owner(manifest.config_map(request), request, "uid-1") == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "script-load-0123456789-script",
            "namespace": "etl",
            "labels": OUR_LABELS,
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": "script-load-0123456789", "uid": "uid-1"}
            ],
        },
        "immutable": True,
        "data": {"script": HI, "file-0": "x = 1\n"},
    }


def test_bytes_that_are_no_text_are_binary_data() -> None:
    """A ConfigMap has another field for them; the volume has all files."""
    key = Script.from_bytes(b"\x30\x82\x00\xff", origin="x", name="key.p12")
    request = a_request(HI, files={"key.p12": key, "a.txt": a_script("a")})
    made = manifest.config_map(request)
    assert (made["data"], made["binaryData"]) == ({"script": HI, "file-1": "a"}, {"file-0": "MIIA/w=="})
    (volume,) = manifest.job(request)["spec"]["template"]["spec"]["volumes"]
    assert {"key": "file-0", "path": "key.p12"} in volume["configMap"]["items"]


def test_the_secret_holds_environment_and_arguments() -> None:
    """Values are base64, the Job owns them (R26)."""
    request = a_request(args=[1], env={"KEY": "ü"})
    assert manifest.with_owner(manifest.owned(request)["secrets"], request, "uid-1") == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "script-load-0123456789-env",
            "namespace": "etl",
            "labels": OUR_LABELS,
            "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": "script-load-0123456789", "uid": "uid-1"}
            ],
        },
        "type": "Opaque",
        "immutable": True,
        "data": {"KEY": "w7w=", "AIRFLOW_SCRIPT_ARGS": "WzFd"},
    }


def test_nothing_to_hide_needs_no_secret() -> None:
    """Without environment and arguments there is no Secret."""
    assert list(manifest.owned(a_request())) == ["configmaps"]


def test_a_dry_run_hides_values() -> None:
    """With values hidden, the Secret shows names only (R26)."""
    secret = manifest.secret(a_request(env={"KEY": "hunter2"}), hide_values=True)
    assert secret is not None
    assert secret["stringData"] == {"KEY": "(hidden)"}
    assert "data" not in secret


@pytest.mark.parametrize("make", [manifest.job, manifest.config_map])
def test_no_value_leaves_the_secret(make: Any) -> None:
    """Neither Job nor ConfigMap holds a value of env, args or arguments (R26)."""
    for given in ({"args": {"k": "hunter2"}}, {"arguments": ["hunter2"]}, {"env": {"KEY": "hunter2"}}):
        assert "hunter2" not in str(make(a_request(**given)))


def test_without_a_uid_nothing_is_owned() -> None:
    """A dry run has no Job yet to own anything."""
    assert "ownerReferences" not in manifest.config_map(a_request())["metadata"]


@pytest.mark.parametrize(
    ("given", "largest"),
    [
        ({"arguments": ["twenty characters ..."] * 9000}, "arguments"),
        ({"env": {f"LONG_NAME_OF_VARIABLE_{index}": "x" for index in range(9000)}}, "env"),
        ({"annotations": {"note": "x" * 500_000}}, "annotations"),
        ({"pod_overrides": {"metadata": {"annotations": {"note": "x" * 1_000_000}}}}, "pod_overrides"),
        ({"on_nodes": OnNodes(Mode.NORMAL, NodePlan(nodes=("a",))), "arguments": ["x"] * 9000}, "arguments"),
    ],
    ids=["arguments", "env", "annotations", "overrides", "nodes"],
)
def test_a_job_that_cannot_be_stored_is_refused(given: dict[str, Any], largest: str) -> None:
    """By its whole size, naming what makes it large (R25)."""
    with pytest.raises(ValueError, match=rf"^{largest} makes the Job too large: [\d,]+ bytes, .* 983,040; .* in args"):
        manifest.job(a_request(**given))


def test_a_job_with_many_arguments_is_accepted() -> None:
    """So many were stored, and so was their pod (R25)."""
    assert (
        len(manifest.job(a_request(arguments=["x"] * 5500))["spec"]["template"]["spec"]["containers"][0]["args"]) > 5500
    )


def test_a_mount_of_the_authors_replaces_ours() -> None:
    """Whoever mounts /tmp gets no second one there."""
    mount = {"name": "fast", "mountPath": "/tmp"}
    pod = manifest.pod_template(a_request(run_as_uid=1000, volume_mounts=[mount]))["spec"]
    assert [m for m in pod["containers"][0]["volumeMounts"] if m["mountPath"] == "/tmp"] == [mount]
    assert "airflow-tmp" not in [volume["name"] for volume in pod["volumes"]]


def test_annotations_tell_where_files_came_from() -> None:
    """On Job and pod, as of the script (R24)."""
    job = manifest.job(a_request(HI, files={"a.py": a_script("x", origin="gs://etl/a.py")}))
    expected = {"a.py": {"sha256": a_script("x").sha256, "origin": "gs://etl/a.py", "bytes": 1}}
    for metadata in (job["metadata"], job["spec"]["template"]["metadata"]):
        assert json.loads(metadata["annotations"]["airflow-script-provider/files"]) == expected


def test_the_interpreter_is_that_of_the_request() -> None:
    """It was chosen once; what script and image would say otherwise does not count."""
    request = replace(a_request(image="node:22"), interpreter=Interpreter(("bash", "-eu"), "interpreter"))
    container = manifest.pod_template(request)["spec"]["containers"][0]
    assert (container["command"], container["args"]) == (["bash", "-eu"], ["/scripts/script.sh"])


def test_a_patch_of_the_job_comes_between_ours_and_the_authors() -> None:
    """Its volumes come after ours and before the author's; ``pod_overrides`` go over it."""
    pod = {"volumes": [{"name": "patched", "emptyDir": {}}], "hostNetwork": True, "dnsPolicy": "Default"}
    patch = {"metadata": {"annotations": {"plan": "…"}}, "spec": {"parallelism": 0, "template": {"spec": pod}}}
    overrides = {"spec": {"dnsPolicy": "None"}}
    request = a_request(volumes=[{"name": "data", "emptyDir": {}}], pod_overrides=overrides)
    job = manifest.job(replace(request, job_patch=patch))
    spec = job["spec"]["template"]["spec"]
    assert [volume["name"] for volume in spec["volumes"]] == ["airflow-script", "patched", "data"]
    assert (spec["hostNetwork"], spec["dnsPolicy"]) == (True, "None")
    assert (job["spec"]["parallelism"], job["metadata"]["annotations"]["plan"]) == (0, "…")


def test_a_patch_puts_its_variables_first() -> None:
    """So the script's other variables may refer to them."""
    container = {"name": "script", "env": [{"name": "NODE_NAME", "value": "n"}]}
    patch = {"spec": {"template": {"spec": {"containers": [container]}}}}
    request = replace(a_request(env={"KEY": "value"}), job_patch=patch)
    env = manifest.job(request)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert [variable["name"] for variable in env] == ["NODE_NAME", "KEY"]


def test_overrides_reach_the_scripts_container() -> None:
    """``pod_overrides`` are merged by the container's name."""
    overrides = {"spec": {"containers": [{"name": "script", "workingDir": "/data"}]}}
    container = manifest.pod_template(a_request(pod_overrides=overrides))["spec"]["containers"][0]
    assert (container["workingDir"], container["image"]) == ("/data", "python:3.11-slim")


def test_variables_of_services_are_off_unless_they_are_asked_for() -> None:
    """A namespace with hundreds of Services would fill the environment; the author may still want them."""
    assert manifest.pod_template(a_request())["spec"]["enableServiceLinks"] is False
    asked = a_request(pod_overrides={"spec": {"enableServiceLinks": True}})
    assert manifest.pod_template(asked)["spec"]["enableServiceLinks"] is True
