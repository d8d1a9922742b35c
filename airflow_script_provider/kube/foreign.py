"""Arguments of the cncf.kubernetes provider's pod and job operators, answered with ours."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from airflow_script_provider.kube.syntax import did_you_mean

_RENAMED = {
    "env_vars": "env",
    "resources": "container_resources",
    "startup_timeout_seconds": "startup_timeout",
    "schedule_timeout_seconds": "startup_timeout",
    "active_deadline_seconds": "timeout",
    "cmds": "interpreter",
    "secrets": "env_from",
    "configmaps": "env_from",
    "on_finish_action": "ttl_seconds_after_finished",
    "on_kill_action": "ttl_seconds_after_finished",
    "fail_on_exit_codes": "fail_on_exit_code",
    "random_name_suffix": "name",
    "job_template_file": "pod_overrides",
}
# The rest of what the cncf.kubernetes provider's pod and job operators take and we spell in the pod's own words.
_POD_FIELDS = frozenset(
    [
        "automount_service_account_token",
        "base_container_name",
        "container_logs",
        "container_security_context",
        "dns_config",
        "dns_policy",
        "full_pod_spec",
        "host_aliases",
        "hostname",
        "hostnetwork",
        "init_containers",
        "init_container_logs",
        "pod_template_dict",
        "pod_template_file",
        "ports",
        "priority_class_name",
        "runtime_class_name",
        "schedulername",
        "security_context",
        "shareprocessnamespace",
        "share_process_namespace",
        "subdomain",
        "termination_message_policy",
        "working_dir",
        "completion_mode",
        "completions",
        "parallelism",
        "manual_selector",
        "selector",
        "suspend",
    ]
)
_DEFERRED = frozenset(["deferrable", "defer_after"])


def is_renamed(name: str) -> bool:
    """Whether the pod or job operator calls so what has another name here."""
    return name in _RENAMED


def refuse_unknown(arguments: Iterable[str], ours: Iterable[str]) -> None:
    """Answer the first argument that is none of ours: with our name for it, else with the nearest; ``TypeError``."""
    known = tuple(ours)
    for name in arguments:
        if name in known:
            continue
        if "pod_overrides" not in known:
            _refuse_for_running_pods(name, known)
        if name in _RENAMED:
            raise TypeError(f"{name!r} is an argument of the pod or job operator; here it is {_RENAMED[name]!r}")
        if name in _POD_FIELDS:
            raise TypeError(f"{name!r} is an argument of the pod or job operator; here set it in 'pod_overrides'")
        raise TypeError(f"unknown argument {name!r}{did_you_mean(name, known)}")


def _refuse_for_running_pods(name: str, known: Collection[str]) -> None:
    """What makes no sense where nothing is created."""
    if name in _DEFERRED:
        raise TypeError(f"{name!r}: an exec lives as long as its connection, so it cannot be deferred")
    if name in _POD_FIELDS or (name in _RENAMED and _RENAMED[name] not in known):
        raise TypeError(f"{name!r} is an argument of the pod or job operator; a running pod cannot be changed")
