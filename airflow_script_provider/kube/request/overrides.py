"""Patches of our objects, such as ``pod_overrides``.

Mappings are merged by key, lists by Kubernetes' own merge keys.

Merge keys as in the API's ``patchMergeKey`` tags:
https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from airflow_script_provider.kube.labels import (
    INSTALL_CONTAINER,
    MANAGER,
    SCRIPT_CONTAINER,
    SCRIPT_FOLDER,
    SCRIPT_VOLUME,
)
from airflow_script_provider.kube.syntax import check_keys

_MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "imagePullSecrets": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "volumeDevices": "devicePath",
    "ports": "containerPort",
    "hostAliases": "ip",
    "topologySpreadConstraints": "topologyKey",
    "resourceClaims": "name",
    "schedulingGates": "name",
}
_RESTARTS_ALL = "RestartAllContainers"


def merge(base: Any, patch: Any, field: str = "", *, new_first: Collection[str] = ()) -> Any:
    """Merge a patch over a base: mappings by key, lists by their merge key. None removes a key.

    A list without a merge key is replaced. New entries of a list follow the base's entries; in
    lists whose names are in ``new_first`` they precede them.
    """
    if isinstance(base, Mapping) and isinstance(patch, Mapping):
        merged = {key: merge(base.get(key), value, key, new_first=new_first) for key, value in patch.items()}
        return {key: value for key, value in (dict(base) | merged).items() if value is not None}
    if isinstance(base, list) and isinstance(patch, list) and field in _MERGE_KEYS:
        return _merge_lists(base, patch, field, new_first)
    return patch


def _merge_lists(base: list[Any], patch: list[Any], field: str, new_first: Collection[str]) -> list[Any]:
    key = _MERGE_KEYS[field]
    merged = {item.get(key): item for item in base}
    is_new = dict.fromkeys(merged, False)
    for item in patch:
        name = item.get(key) if isinstance(item, Mapping) else None
        merged[name] = merge(merged[name], item, new_first=new_first) if name in merged else item
        is_new.setdefault(name, True)
    names = sorted(merged, key=lambda name: not is_new[name]) if field in new_first else merged
    return [merged[name] for name in names]


def check_overrides(overrides: Mapping[str, Any], our_labels: Mapping[str, str]) -> None:
    """Refuse overrides of what this provider relies on. The message names the key."""
    check_keys(overrides, ("metadata", "spec", "apiVersion", "kind"), "pod_overrides")
    metadata, spec = _part(overrides, "metadata"), _part(overrides, "spec")
    _refuse_removal(metadata, ("labels",), "metadata")
    _refuse_removal(spec, ("containers", "volumes"), "spec")
    for label in metadata.get("labels") or {}:
        if label in our_labels:
            raise _refusal(f"metadata.labels[{label}]", "this provider finds the Job by it")
    for annotation in metadata.get("annotations") or {}:
        if str(annotation).startswith(f"{MANAGER}/"):
            raise _refusal(f"metadata.annotations[{annotation}]", "this provider sets it")
    if "restartPolicy" in spec:
        raise _refusal("spec.restartPolicy", "the Job starts each attempt as a new pod; set backoff_limit")
    for volume in _entries(spec, "volumes"):
        if volume.get("name") == SCRIPT_VOLUME:
            raise _refusal(
                f"spec.volumes[{SCRIPT_VOLUME}]", "it contains the script; choose another name, or use files"
            )
    for kind in ("containers", "initContainers"):
        for container in _entries(spec, kind):
            _check_container(container, f"spec.{kind}[{container.get('name')}]")


def check_volumes(volumes: Iterable[Any], mounts: Iterable[Any]) -> None:
    """Refuse volumes and mounts that would replace the script's."""
    if any(isinstance(volume, Mapping) and volume.get("name") == SCRIPT_VOLUME for volume in volumes):
        raise ValueError(
            f"volumes has the name {SCRIPT_VOLUME!r}, which is reserved for the script; choose another name"
        )
    if any(isinstance(mount, Mapping) and _is_script_folder(mount) for mount in mounts):
        raise ValueError(
            f"volume_mounts has the path {SCRIPT_FOLDER}, where the script is mounted; choose another path or use files"
        )


def _is_script_folder(mount: Mapping[str, Any]) -> bool:
    return str(mount.get("mountPath", "")).rstrip("/") == SCRIPT_FOLDER


def _check_container(container: Mapping[str, Any], where: str) -> None:
    if container.get("name") == SCRIPT_CONTAINER:
        for key in ("command", "args"):
            if key in container:
                raise _refusal(f"{where}.{key}", "use interpreter, args or arguments")
        _refuse_removal(container, ("env", "volumeMounts"), where)
    _check_restarts(container, where)
    for mount in _entries(container, "volumeMounts"):
        if container.get("name") == SCRIPT_CONTAINER and _is_script_folder(mount):
            raise _refusal(f"{where}.volumeMounts[{SCRIPT_FOLDER}]", "the script is mounted there; choose another path")


def _check_restarts(container: Mapping[str, Any], where: str) -> None:
    """Refuse restarts in place of our containers. A Job does not see them, and their log is lost.

    Kubernetes before 1.35 drops these fields without an error.
    """
    for key in ("restartPolicy", "restartPolicyRules"):
        if container.get("name") in (SCRIPT_CONTAINER, INSTALL_CONTAINER) and key in container:
            raise _refusal(f"{where}.{key}", "each attempt is a new pod; set backoff_limit and fail_on_exit_code")
    if any(rule.get("action") == _RESTARTS_ALL for rule in _entries(container, "restartPolicyRules")):
        raise _refusal(f"{where}.restartPolicyRules to {_RESTARTS_ALL}", "it starts the script again in the same pod")


def _part(overrides: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    part = overrides.get(key) or {}
    if not isinstance(part, Mapping):
        raise ValueError(f"pod_overrides: {key} must be a mapping, not {type(part).__name__}")
    return part


def _refuse_removal(parent: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
    """Refuse None for a list with entries of ours: it would remove the whole list."""
    for key in keys:
        if key in parent and parent[key] is None:
            raise _refusal(f"{where}.{key} to None", "the script needs entries of it")


def _entries(parent: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    entries = parent.get(key) or []
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise ValueError(f"pod_overrides: {key} must be a list of mappings")
    return entries


def _refusal(key: str, why: str) -> ValueError:
    return ValueError(f"pod_overrides may not set {key}: {why}")
