"""Arguments of the cncf.kubernetes provider's pod and job operators, and ours instead."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from airflow_script_provider.kube.syntax import did_you_mean

_NEW_NAMES = {
    "env_vars": "env",
    "resources": "container_resources",
    "startup_timeout_seconds": "startup_timeout",
    "schedule_timeout_seconds": "schedule_timeout",
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
# Other arguments of those operators. Here ``pod_overrides`` sets them, as fields of the pod.
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
_NO_POLLING = "the Job is watched, not polled"
_ONE_POD = "a Job has one pod at a time; for several pods, map the task: .partial(…).expand(args=…)"
_ALWAYS_LOGGED = "the log and the error always say why a pod does not start"
_ALWAYS_SHOWN = "the logs of the script and of the installation are always shown, as printed"
# Arguments without a counterpart here, and why.
_WITHOUT_COUNTERPART = {
    "base_container_name": "the script's container is called 'script'",
    "base_container_status_polling_interval": _NO_POLLING,
    "callbacks": "use Airflow's own callbacks, such as on_failure_callback",
    "completion_mode": _ONE_POD,
    "completions": _ONE_POD,
    "container_logs": _ALWAYS_SHOWN,
    "container_name_log_prefix_enabled": _ALWAYS_SHOWN,
    "discover_pods_retry_number": _NO_POLLING,
    "durable": "a retry after a lost worker always reattaches to its Job",
    "init_container_logs": _ALWAYS_SHOWN,
    "job_poll_interval": _NO_POLLING,
    "log_events_on_failure": _ALWAYS_LOGGED,
    "log_events_on_startup": _ALWAYS_LOGGED,
    "log_formatter": _ALWAYS_SHOWN,
    "log_pod_spec_on_failure": _ALWAYS_LOGGED,
    "logging_interval": "the log is always live",
    "manual_selector": "a Job's pods are found by Kubernetes' own selector",
    "on_kill_action": "a user's kill always deletes the Job",
    "on_kill_propagation_policy": "a user's kill always deletes the Job and its pods",
    "parallelism": _ONE_POD,
    "poll_interval": _NO_POLLING,
    "progress_callback": _ALWAYS_SHOWN,
    "random_name_suffix": "a name always has a suffix",
    "reattach_on_restart": "a retry after a lost worker always reattaches to its Job",
    "selector": "a Job's pods are found by Kubernetes' own selector",
    "startup_check_interval_seconds": _NO_POLLING,
    "suspend": "the task waits for a Job that a queue has suspended",
    "trigger_kwargs": "the trigger has no options",
    "unwrap_single": "a script returns one value",
    "wait_until_job_complete": "the task always waits for the Job",
    "xcom_sidecar_container_security_context": "there is no sidecar",
}
_DEFERRAL = frozenset(["deferrable", "defer_after"])


def is_renamed(name: str) -> bool:
    """Whether this argument of the pod or job operator has another name here."""
    return name in _NEW_NAMES


def refuse_unknown(arguments: Iterable[str], ours: Iterable[str]) -> None:
    """Refuse the first unknown argument by ``TypeError``, and suggest one of ours."""
    known = tuple(ours)
    for name in arguments:
        if name in known:
            continue
        if "pod_overrides" not in known:
            _refuse_for_running_pods(name, known)
        if name in _NEW_NAMES:
            raise TypeError(f"{name!r} is an argument of the pod or job operator; use {_NEW_NAMES[name]!r} instead")
        if name in _POD_FIELDS:
            raise TypeError(f"{name!r} is an argument of the pod or job operator; set it in 'pod_overrides' instead")
        if name in _WITHOUT_COUNTERPART:
            raise TypeError(
                f"{name!r} is an argument of the pod or job operator; leave it out: {_WITHOUT_COUNTERPART[name]}"
            )
        raise TypeError(f"unknown argument {name!r}{did_you_mean(name, known)}")


def _refuse_for_running_pods(name: str, known: Collection[str]) -> None:
    """Refuse arguments that only a new pod can have."""
    if name in _DEFERRAL:
        raise TypeError(f"{name!r} is not supported: an exec ends with its connection, so it cannot be deferred")
    if name in _POD_FIELDS or (name in _NEW_NAMES and _NEW_NAMES[name] not in known):
        raise TypeError(f"{name!r} is an argument of the pod or job operator; a running pod cannot be changed")
    if name in _WITHOUT_COUNTERPART:
        raise TypeError(f"{name!r} is an argument of the pod or job operator; leave it out: nothing is created here")
