"""The Job, ConfigMap and Secret of a request, spelled as the API takes them."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_script_provider.kube.labels import (
    DIGEST_ANNOTATION,
    INSTALL_CONTAINER,
    ORIGIN_ANNOTATION,
    SCRIPT_CONTAINER,
    SCRIPT_FOLDER,
    SCRIPT_VOLUME,
    SIZE_ANNOTATION,
)
from airflow_script_provider.kube.request import overrides, provenance
from airflow_script_provider.kube.request.provision import PERMANENT, TARGET
from airflow_script_provider.kube.request.request import JobRequest
from airflow_script_provider.kube.request.sizes import check_job_size

NO_OTHER_POD = {"parallelism": 0}
"""The change of a Job's spec after which it starts no pod. It completes if its pod succeeds."""

SHORTEST_GRACE_PERIOD = 1
"""Seconds of a pod that asks for 0: each deletion of it would be forced, and a forced deletion
removes the pod before its script has ended."""

HOME = "/home/script"
TMP = "/tmp"  # noqa: S108  # a folder of the container

_SCRIPT_KEY = "script"
# The folder in a ConfigMap's volume that has the files. What stands beside it are links to them:
# in a mount of the whole volume, a script's resolved path is not the path that it is run by.
_FILES_OF_CONFIG_MAP = "..data"
_HIDDEN = "(hidden)"


def job(request: JobRequest) -> dict[str, Any]:
    """The Job. It waits for its ConfigMap, so it can be created first and own the other two.

    Ours comes first, then ``job_patch``, then what the author asks for. ``ValueError`` names what
    the author may not override, or what makes the Job too large.
    """
    # A variable may refer to those before it, so those of the patch precede ours.
    patched = overrides.merge(_job(request), request.job_patch, new_first=("env",))
    template = _as_the_author_asks(request, patched["spec"]["template"])
    body = {**patched, "spec": patched["spec"] | {"template": template}}
    check_job_size(body, lambda: _parts(request))
    return body


def _parts(request: JobRequest) -> dict[str, Any]:
    """What the Job holds, by the author's arguments."""
    payload, environment = request.payload, request.payload.environment
    arguments = _secret_environment(request, [name for name in payload.variables if name not in environment])
    variables = {"arguments": arguments, "env": _secret_environment(request, environment)}
    return {**request.options.by_argument, **variables}


def _job(request: JobRequest) -> dict[str, Any]:
    options = request.options
    spec: dict[str, Any] = {
        "backoffLimit": options.backoff_limit,
        "podFailurePolicy": {"rules": _failure_rules(request)},
        "template": {
            "metadata": {
                "labels": options.labels | request.identity.labels(),
                "annotations": _annotations(request),
            },
            "spec": _pod_spec(request),
        },
    }
    if request.first_ttl is not None:
        spec["ttlSecondsAfterFinished"] = request.first_ttl
    if request.deadline.seconds is not None:
        spec["activeDeadlineSeconds"] = request.deadline.seconds
    metadata = _metadata(request, request.identity.job_name) | {"annotations": _annotations(request)}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def config_map(request: JobRequest) -> dict[str, Any]:
    """The ConfigMap with the script and its files."""
    metadata = _metadata(request, request.identity.config_map_name)
    contents = {_SCRIPT_KEY: request.script}
    contents |= {f"file-{index}": file for index, file in enumerate(request.files.values())}
    texts = {key: content.text for key, content in contents.items() if content.raw is None}
    texts |= {f"tool-{index}": text for index, text in enumerate(request.provision.tools().values())}
    others = {key: base64.b64encode(c.raw).decode() for key, c in contents.items() if c.raw is not None}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "immutable": True,
        "data": texts,
    } | ({"binaryData": others} if others else {})


def secret(request: JobRequest, *, hide_values: bool = False) -> dict[str, Any] | None:
    """The Secret with environment and arguments. None if there are no values."""
    if not request.secret_variables:
        return None
    metadata = _metadata(request, request.identity.secret_name)
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata}
    if hide_values:
        return body | {"type": "Opaque", "stringData": dict.fromkeys(request.secret_variables, _HIDDEN)}
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in request.secret_variables.items()}
    return body | {"type": "Opaque", "immutable": True, "data": encoded}


def owned(request: JobRequest) -> dict[str, dict[str, Any]]:
    """Secret and ConfigMap by resource, to be created in this order, ``with_owner``."""
    found = {"secrets": secret(request), "configmaps": config_map(request)}
    return {resource: body for resource, body in found.items() if body is not None}


def with_owner(body: Mapping[str, Any], request: JobRequest, job_uid: str) -> dict[str, Any]:
    """The Secret or ConfigMap, owned by the Job."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": request.identity.job_name, "uid": job_uid}
    return {**body, "metadata": body["metadata"] | {"ownerReferences": [owner]}}


def shown(request: JobRequest) -> list[dict[str, Any]]:
    """The objects as ``kubectl apply`` takes them. Values are hidden, and none has an owner."""
    objects = (job(request), config_map(request), secret(request, hide_values=True))
    return [body for body in objects if body is not None]


def pod_template(request: JobRequest) -> dict[str, Any]:
    """The pod's template, as it stands in the Job."""
    template: dict[str, Any] = job(request)["spec"]["template"]
    return template


def _as_the_author_asks(request: JobRequest, template: dict[str, Any]) -> dict[str, Any]:
    """The template with what the author asks for.

    The author's volumes and mounts come after ours, and ``pod_overrides`` are merged last.
    """
    options, spec = request.options, template["spec"]
    containers = {
        kind: [one | {"volumeMounts": [*one["volumeMounts"], *options.volume_mounts]} for one in spec[kind]]
        for kind in ("initContainers", "containers")
        if kind in spec
    }
    own = {"volumes": [*spec["volumes"], *options.volumes]} | containers
    given = options.pod_overrides
    overrides.check_overrides(given, request.identity.labels())
    patch = {key: given[key] for key in ("metadata", "spec") if given.get(key) is not None}
    merged: dict[str, Any] = overrides.merge(template | {"spec": spec | own}, patch)
    if merged["spec"].get("terminationGracePeriodSeconds") == 0:
        merged["spec"]["terminationGracePeriodSeconds"] = SHORTEST_GRACE_PERIOD
    return merged


def _pod_spec(request: JobRequest) -> dict[str, Any]:
    options = request.options
    given = {
        "serviceAccountName": options.service_account_name,
        "imagePullSecrets": options.image_pull_secrets,
        "nodeSelector": options.node_selector,
        "affinity": options.affinity,
        "initContainers": [_install_container(request)] if request.provision.requirements else None,
        "tolerations": options.tolerations,
    }
    return {
        "restartPolicy": "Never",
        # As PID 1 a script without a handler ignores SIGTERM. With this setting the pause process
        # is PID 1.
        "shareProcessNamespace": True,
        # Each Service of the namespace would add seven variables, which may shadow the image's.
        "enableServiceLinks": False,
        "automountServiceAccountToken": bool(options.service_account_name),
        "terminationGracePeriodSeconds": options.termination_grace_period,
        "securityContext": _pod_security(request),
        "containers": [_script_container(request)],
        "volumes": [
            _script_volume(request),
            *_scratch_volumes(request),
            *request.provision.volumes(),
        ],
    } | {key: value for key, value in given.items() if value}


def _script_container(request: JobRequest) -> dict[str, Any]:
    prelude, restoring = request.provision.prelude(), request.provision.restoring(request.payload.variables)
    variables = _secret_environment(request, request.payload.variables)
    return {
        "name": SCRIPT_CONTAINER,
        "command": [*prelude, *restoring, *(_literal(word) for word in request.interpreter.argv)],
        "args": [f"{SCRIPT_FOLDER}/{request.script_file}", *request.payload.argv],
        "env": [
            *_user_environment(request),
            *variables,
            *request.provision.script_environment(request.identity.launch_id),
        ],
        "securityContext": _container_security(request),
    } | _of_both_containers(request)


def _install_container(request: JobRequest) -> dict[str, Any]:
    """The init container that installs the requirements.

    It has the script container's image, environment, mounts and limits.
    """
    return {
        "name": INSTALL_CONTAINER,
        "command": [_literal(word) for word in request.provision.install_command(request.interpreter)],
        "env": [
            *_user_environment(request),
            *_secret_environment(request, request.secret_variables),
            {"name": "AIRFLOW_SCRIPT_TARGET", "value": TARGET},
        ],
        "securityContext": _container_security(request),
    } | _of_both_containers(request)


def _of_both_containers(request: JobRequest) -> dict[str, Any]:
    options = request.options
    given = {"resources": options.container_resources, "envFrom": options.env_from}
    script_mount = {
        "name": SCRIPT_VOLUME,
        "mountPath": SCRIPT_FOLDER,
        "subPath": _FILES_OF_CONFIG_MAP,
        "readOnly": True,
    }
    return {
        "image": options.image,
        "imagePullPolicy": options.image_pull_policy,
        "volumeMounts": [script_mount, *_scratch_mounts(request), *request.provision.mounts()],
    } | {key: value for key, value in given.items() if value}


def _literal(word: str) -> str:
    """The word so that Kubernetes, which expands ``$(NAME)``, leaves it as it is."""
    return word.replace("$", "$$")


def _secret_environment(request: JobRequest, variables: Iterable[str]) -> list[dict[str, Any]]:
    name = request.identity.secret_name
    return [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": variable}}} for variable in variables
    ]


def _user_environment(request: JobRequest) -> list[dict[str, Any]]:
    """Variables for a user without an entry in the image's passwd.

    The author's ``env`` goes before them.
    """
    if request.options.run_as_uid is None:
        return []
    values = {"TMPDIR": TMP, "HOME": HOME, "USER": "script", "LOGNAME": "script"}
    return [{"name": n, "value": v} for n, v in values.items() if n not in request.payload.variables]


def _script_volume(request: JobRequest) -> dict[str, Any]:
    items = [{"key": _SCRIPT_KEY, "path": request.script_file}]
    items += [{"key": f"file-{index}", "path": path} for index, path in enumerate(request.files)]
    items += [{"key": f"tool-{index}", "path": path} for index, path in enumerate(request.provision.tools())]
    source = {"name": request.identity.config_map_name, "defaultMode": 0o555, "items": items}
    return {"name": SCRIPT_VOLUME, "configMap": source}


def _scratch_mounts(request: JobRequest) -> list[dict[str, Any]]:
    if request.options.run_as_uid is None:
        return []
    taken = {str(mount.get("mountPath")).rstrip("/") for mount in request.options.volume_mounts}
    mounts = [{"name": "airflow-tmp", "mountPath": TMP}, {"name": "airflow-home", "mountPath": HOME}]
    return [mount for mount in mounts if mount["mountPath"] not in taken]


def _scratch_volumes(request: JobRequest) -> list[dict[str, Any]]:
    return [{"name": mount["name"], "emptyDir": {}} for mount in _scratch_mounts(request)]


def _pod_security(request: JobRequest) -> dict[str, Any]:
    user: dict[str, Any] = {}
    if request.options.run_as_uid is not None:
        user = {"runAsUser": request.options.run_as_uid, "runAsNonRoot": True}
    return {"seccompProfile": {"type": "RuntimeDefault"}} | user


def _container_security(request: JobRequest) -> dict[str, Any]:
    context: dict[str, Any] = {"allowPrivilegeEscalation": False}
    if not request.provision.packages:  # package managers change owners and users
        context["capabilities"] = {"drop": ["ALL"]}
    if request.options.run_as_uid is not None:
        context["readOnlyRootFilesystem"] = True
    return context


def _failure_rules(request: JobRequest) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    ]
    if request.options.final_codes:
        codes = {"containerName": SCRIPT_CONTAINER, "operator": "In", "values": sorted(request.options.final_codes)}
        rules.append({"action": "FailJob", "onExitCodes": codes})
    if request.provision.requirements:
        rules.append(_final_installation(INSTALL_CONTAINER))
    if request.provision.packages and PERMANENT not in request.options.final_codes:
        rules.append(_final_installation(SCRIPT_CONTAINER))
    return rules


def _final_installation(container: str) -> dict[str, Any]:
    codes = {"containerName": container, "operator": "In", "values": [PERMANENT]}
    return {"action": "FailJob", "onExitCodes": codes}


def _metadata(request: JobRequest, name: str) -> dict[str, Any]:
    labels = request.options.labels | request.identity.labels()
    return {"name": name, "namespace": request.namespace, "labels": labels}


def _annotations(request: JobRequest) -> dict[str, str]:
    script = request.script
    source = {DIGEST_ANNOTATION: script.sha256, ORIGIN_ANNOTATION: script.origin, SIZE_ANNOTATION: str(script.size)}
    source |= provenance.annotation(request.files)
    return request.options.annotations | source | request.identity.annotations()
