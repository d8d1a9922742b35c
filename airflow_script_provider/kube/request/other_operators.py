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
    "is_delete_operator_pod": "ttl_seconds_after_finished",
    "fail_on_exit_codes": "fail_on_exit_code",
    "job_template_file": "pod_overrides",
    "full_job_spec": "pod_overrides",
}
# The rest of what the cncf.kubernetes provider's pod and job operators take and we spell in the pod's own words.
_POD_FIELDS = frozenset(
    [
        "automount_service_account_token",
        "container_security_context",
        "dns_config",
        "dnspolicy",
        "full_pod_spec",
        "host_aliases",
        "hostname",
        "hostnetwork",
        "init_containers",
        "pod_runtime_info_envs",
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
    ]
)
_WATCHED = "nothing is polled"
_ONE_POD = "a Job has one pod at a time; for several map the task, .partial(…).expand(args=…)"
_LOGGED = "what hinders the pod is always logged, and named in the error"
_SHOWN = "the logs of the script and of the installation are shown, as printed"
# What nothing here corresponds to, and why.
_LEFT_OUT = {
    "base_container_name": "the script's container is called 'script'",
    "base_container_status_polling_interval": _WATCHED,
    "callbacks": "there are none; Airflow's own, such as on_failure_callback, work",
    "completion_mode": _ONE_POD,
    "completions": _ONE_POD,
    "container_logs": _SHOWN,
    "container_name_log_prefix_enabled": _SHOWN,
    "discover_pods_retry_number": _WATCHED,
    "durable": "a retry after a lost worker always takes over its Job",
    "init_container_logs": _SHOWN,
    "job_poll_interval": _WATCHED,
    "log_events_on_failure": _LOGGED,
    "log_events_on_startup": _LOGGED,
    "log_formatter": _SHOWN,
    "log_pod_spec_on_failure": _LOGGED,
    "logging_interval": "the log is always live",
    "manual_selector": "a Job's pods are found by Kubernetes' own selector",
    "on_kill_action": "a kill always deletes the Job",
    "on_kill_propagation_policy": "a kill always deletes the Job and its pods",
    "parallelism": _ONE_POD,
    "poll_interval": _WATCHED,
    "progress_callback": _SHOWN,
    "random_name_suffix": "a name always has a suffix",
    "reattach_on_restart": "a retry after a lost worker always takes over its Job",
    "selector": "a Job's pods are found by Kubernetes' own selector",
    "startup_check_interval_seconds": _WATCHED,
    "suspend": "a Job that a queue suspends is waited for",
    "trigger_kwargs": "the trigger has no options",
    "unwrap_single": "there is one value",
    "wait_until_job_complete": "the Job is always waited for",
    "xcom_sidecar_container_security_context": "there is no sidecar",
}
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
        if name in _LEFT_OUT:
            raise TypeError(f"{name!r} is an argument of the pod or job operator; leave it out: {_LEFT_OUT[name]}")
        raise TypeError(f"unknown argument {name!r}{did_you_mean(name, known)}")


def _refuse_for_running_pods(name: str, known: Collection[str]) -> None:
    """What makes no sense where nothing is created."""
    if name in _DEFERRED:
        raise TypeError(f"{name!r}: an exec lives as long as its connection, so it cannot be deferred")
    if name in _POD_FIELDS or (name in _RENAMED and _RENAMED[name] not in known):
        raise TypeError(f"{name!r} is an argument of the pod or job operator; a running pod cannot be changed")
    if name in _LEFT_OUT:
        raise TypeError(f"{name!r} is an argument of the pod or job operator; leave it out: nothing is created here")
