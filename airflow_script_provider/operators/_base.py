"""What the operators share: hidden template fields, answers to other operators' arguments, Airflow's exceptions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from airflow_script_provider import exceptions
from airflow_script_provider._airflow import AirflowFailException, AirflowSkipException, is_resolved_at_run_time
from airflow_script_provider.kube import outcome as outcomes
from airflow_script_provider.kube.outcome import Outcome
from airflow_script_provider.kube.syntax import did_you_mean
from airflow_script_provider.sources.parse import is_one_expression, parse

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


class HiddenValues:
    """A template field whose page in Airflow's interface shows names, never values.

    Airflow masks rendered fields by key name only, and a short secret under a harmless name would be shown.
    """

    template_fields: Sequence[str] = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __bool__(self) -> bool:
        return self.value is not None

    def __str__(self) -> str:
        if isinstance(self.value, Mapping):
            return f"{', '.join(str(name) for name in self.value) or 'none'} (values hidden)"
        if isinstance(self.value, list | tuple):
            return f"{len(self.value)} items (values hidden)"
        return "(hidden)"


def hidden(value: Any) -> Any:
    """The value as a hidden field; None stays None, another task's output is resolved by Airflow first."""
    return None if value is None else HiddenValues(value)


def revealed(field: Any) -> Any:
    """What a hidden field holds."""
    return field.value if isinstance(field, HiddenValues) else field


def source_or_later(script: Any, *, template: bool, conn_id: str | None = None) -> Any:
    """The source of a script, or the script itself if only rendering will tell what it is."""
    if is_resolved_at_run_time(script) or is_one_expression(script):
        return script
    return parse(script, template=template, conn_id=conn_id)


def sources_or_later(files: Any, *, template: bool) -> Any:
    """The sources of ``files``; a mapping that another task returns is left for the run."""
    if files is None or is_resolved_at_run_time(files):
        return files
    if not isinstance(files, Mapping):
        raise ValueError(f"files must be a mapping of relative path to source, not {type(files).__name__}")
    return {path: source_or_later(file, template=template) for path, file in files.items()}


def inputs_of_sources(script: Any, files: Any) -> list[Any]:
    """What the templates of the sources hold, where outputs of other tasks may stand."""
    sources = [script, *(files.values() if isinstance(files, Mapping) else [files])]
    fields = [getattr(source, name) for source in sources for name in getattr(source, "template_fields", ())]
    return [*(source for source in sources if is_resolved_at_run_time(source)), *fields]


def refuse_unknown(arguments: Iterable[str], of_airflow: Collection[str], ours: Iterable[str]) -> None:
    """Answer an argument that this operator doesn't have, with ours where another operator's was meant.

    ``resources`` is Airflow's own word for something else, but nobody who writes it here means that.
    """
    known = tuple(ours)
    for name in arguments:
        if name in of_airflow and name not in _RENAMED:
            continue
        if name in _RENAMED:
            raise TypeError(f"{name!r} is an argument of the pod or job operator; here it is {_RENAMED[name]!r}")
        if name in _POD_FIELDS:
            raise TypeError(f"{name!r} is an argument of the pod or job operator; here set it in 'pod_overrides'")
        raise TypeError(f"unknown argument {name!r}{did_you_mean(name, known)}")


def raise_for(outcome: Outcome) -> None:
    """Raise what Airflow understands of an outcome that is no success."""
    error = outcomes.failure(outcome)
    if error is None:
        return
    if outcome.skipped:
        raise AirflowSkipException(f"{error.message.splitlines()[0]} Skipped, as skip_on_exit_code says.")
    raise_error(error)


def raise_error(error: exceptions.ScriptProviderError) -> NoReturn:
    """The one place that tells Airflow whether another try can help."""
    if error.retryable:
        raise error from None
    raise AirflowFailException(error.message) from error
