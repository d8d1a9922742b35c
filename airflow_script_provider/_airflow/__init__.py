"""The only package that knows where Airflow keeps things, and in which version."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, get_current_context
from airflow.sdk.bases.decorator import DecoratedOperator, task_decorator_factory
from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION
from asgiref.sync import sync_to_async

from airflow_script_provider.kube.kill import NO_STATE
from airflow_script_provider.kube.names import TaskIdentity

try:
    from airflow.sdk.bases.decorator import determine_kwargs
    from airflow.sdk.exceptions import (
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowOptionalProviderFeatureException,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferred,
    )
except ImportError:  # Airflow 3.1
    # Type checkers see Airflow 3.3, which has these names elsewhere.
    from airflow.exceptions import (  # type: ignore[attr-defined,no-redef]
        AirflowException,
        AirflowFailException,
        AirflowNotFoundException,
        AirflowOptionalProviderFeatureException,
        AirflowSkipException,
        AirflowTaskTimeout,
        TaskDeferred,
    )
    from airflow.utils.operator_helpers import determine_kwargs  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from airflow.sdk import Connection, Context

__all__ = [
    "SET_DURING_EXECUTION",
    "AirflowException",
    "AirflowFailException",
    "AirflowNotFoundException",
    "AirflowOptionalProviderFeatureException",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "DecoratedOperator",
    "TaskDeferred",
    "async_connection_extra",
    "before_on_kill",
    "connection_extra",
    "current_context",
    "dag_folder",
    "default_deferrable",
    "depend_on_xcoms_in",
    "deployment_setting",
    "determine_kwargs",
    "find_connection",
    "find_variable",
    "from_extra",
    "gcs_hook_class",
    "google_hook_class",
    "has_task_state_store",
    "http_hook_class",
    "is_in_one_process",
    "is_mapped_at_run_time",
    "is_resolved_at_run_time",
    "is_set_during_execution",
    "job_url_setting",
    "mask_by_name",
    "mask_values",
    "masked",
    "s3_hook_class",
    "set_variable",
    "task_decorator_factory",
    "task_instance",
    "task_state",
]


def before_on_kill(do: Callable[[], None]) -> None:
    """From now on also call ``do`` when the task of this process is killed.

    Outside a task this does nothing.
    Airflow's handler of SIGTERM calls the operator's ``on_kill``. Unlike a handler of our own, it
    can be reached from any thread.
    """
    try:
        task = get_current_context()["ti"].task
    except (RuntimeError, KeyError, AttributeError):
        return
    on_kill = task.on_kill
    if getattr(on_kill, "_before", None) == do:
        return

    def both() -> None:
        do()
        on_kill()

    both._before = do  # type: ignore[attr-defined]  # marks that it was done
    object.__setattr__(task, "on_kill", both)


def find_connection(conn_id: str | None, default_conn_id: str | None) -> Connection | None:
    """A connection; None without an id, or if it is the default connection and not defined."""
    if not conn_id:
        return None
    try:
        connection: Connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        if conn_id != default_conn_id:
            raise
        return None
    return connection


def connection_extra(conn_id: str | None, default_conn_id: str) -> Mapping[str, Any]:
    """The extra fields of a connection; none if it is the default connection and not defined."""
    connection = find_connection(conn_id, default_conn_id)
    extra: Mapping[str, Any] = connection.extra_dejson if connection is not None else {}
    return extra


async def async_connection_extra(conn_id: str | None, default_conn_id: str) -> Mapping[str, Any]:
    """``connection_extra`` for the triggerer: it does not block the event loop."""
    from airflow.sdk import Connection

    if not hasattr(Connection, "aextra_dejson"):
        # Before 3.3.2 Airflow masks a looked-up connection. That call would block the event loop.
        of_connection: Mapping[str, Any] = await sync_to_async(connection_extra, thread_sensitive=False)(
            conn_id, default_conn_id
        )
        return of_connection
    if not conn_id:
        return {}
    try:
        connection = await BaseHook.aget_connection(conn_id)
    except AirflowNotFoundException:
        if conn_id != default_conn_id:
            raise
        return {}
    extra: Mapping[str, Any] = await connection.aextra_dejson()
    return extra


def from_extra(extra: str, module: str, name: str) -> Any:
    """A name of a module that one of this package's extras installs.

    Without the module, the error has the pip line.
    """
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise AirflowOptionalProviderFeatureException(
            f"{module} cannot be imported ({error}); pip install 'airflow-script-provider[{extra}]'"
        ) from None


def http_hook_class() -> Any:
    """``HttpHook`` of providers-http, from the extra ``http``."""
    return from_extra("http", "airflow.providers.http.hooks.http", "HttpHook")


def s3_hook_class() -> Any:
    """``S3Hook`` of providers-amazon, from the extra ``s3``."""
    return from_extra("s3", "airflow.providers.amazon.aws.hooks.s3", "S3Hook")


def gcs_hook_class() -> Any:
    """``GCSHook`` if providers-google is installed, otherwise None.

    No extra requires that provider: it takes 1.2 GB.
    """
    try:
        return from_extra("gcs", "airflow.providers.google.cloud.hooks.gcs", "GCSHook")
    except AirflowOptionalProviderFeatureException:
        return None


def google_hook_class() -> Any:
    """``GoogleBaseHook`` if providers-google is installed, otherwise None."""
    try:
        return from_extra("gcs", "airflow.providers.google.common.hooks.base_google", "GoogleBaseHook")
    except AirflowOptionalProviderFeatureException:
        return None


def default_deferrable() -> bool:
    """The setting ``operators.default_deferrable``, the default of the argument ``deferrable``."""
    return bool(_configuration().getboolean("operators", "default_deferrable", fallback=False))


def job_url_setting() -> str | None:
    """The setting ``script_provider.job_url``: the address of pages about Jobs.

    None if it is not set.
    """
    return _configuration().get("script_provider", "job_url", fallback=None) or None


def deployment_setting() -> str | None:
    """The setting ``script_provider.deployment``: a name that no other deployment has.

    None if it is not set.
    """
    return _configuration().get("script_provider", "deployment", fallback=None) or None


def _configuration() -> Any:
    """Airflow's configuration."""
    try:
        from airflow.sdk.configuration import conf
    except ImportError:  # Airflow 3.1
        from airflow.configuration import conf
    return conf


def find_variable(name: str) -> str | None:
    """The text of a variable, None if it is not defined."""
    from airflow.sdk import Variable

    value: str | None = Variable.get(name, default=None)
    return value


def set_variable(name: str, value: str, description: str) -> None:
    """Set a variable, also if it is not defined yet."""
    from airflow.sdk import Variable

    Variable.set(name, value, description)


def has_task_state_store() -> bool:
    """Whether contexts of tasks have a ``task_state_store``, as they have from Airflow 3.3 on."""
    from airflow.sdk.execution_time import context

    return hasattr(context, "TaskStateStoreAccessor")


def is_in_one_process() -> bool:
    """Whether task and trigger run in one process.

    They do in ``airflow tasks test`` and ``airflow dags test``.
    """
    from airflow.sdk.execution_time import task_runner

    return type(getattr(task_runner, "SUPERVISOR_COMMS", None)).__name__ == "InProcessSupervisorComms"


def task_instance(ti: Any) -> TaskIdentity:
    """A task instance by its ids, without ``origin``."""
    max_tries = getattr(ti, "max_tries", None)
    return TaskIdentity(
        dag_id=str(ti.dag_id),
        task_id=str(ti.task_id),
        run_id=str(ti.run_id),
        map_index=-1 if ti.map_index is None else int(ti.map_index),
        try_number=int(ti.try_number),
        instance_id=str(getattr(ti, "id", "") or ""),
        max_tries=None if max_tries is None else int(max_tries),
    )


def current_context() -> dict[str, Any] | None:
    """The context of the task that this code runs in, None outside of one."""
    try:
        context: Context = get_current_context()
    except RuntimeError:
        return None
    return dict(context)


def task_state(task: TaskIdentity) -> str:
    """The state of a task instance in Airflow now, ``gone`` without the instance.

    An instance without a state has ``NO_STATE``.

    Raises if Airflow does not answer. Blocks until the supervisor answers. Never call it in a
    signal handler, which may have interrupted another question.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        task.dag_id, map_index=task.map_index, task_ids=[task.task_id], run_ids=[task.run_id]
    )
    key = task.task_id if task.map_index < 0 else f"{task.task_id}_{task.map_index}"
    return str(states.get(task.run_id, {}).get(key, "gone") or NO_STATE)


def dag_folder(context: Mapping[str, Any]) -> str | None:
    """The folder of the DAG's file, for relative paths."""
    dag = context.get("dag")
    return getattr(dag, "folder", None) or None


def mask_by_name(values: Any) -> None:
    """Mask the values whose name Airflow calls sensitive, and their lines, in the task's log."""
    if values:
        _mask(_sensitive_candidates(values))


def mask_values(values: Iterable[str]) -> None:
    """Mask these values and their lines in the task's log, whatever their names are."""
    _mask((None, value) for value in values)


def masked(text: str) -> str:
    """The text as the task's log shows it, without the secrets that Airflow knows.

    It is empty where Airflow does not have the function, whose place is private.
    """
    try:
        from airflow.sdk._shared.secrets_masker import redact
    except ImportError:
        return ""
    return str(redact(text))


def _mask(named: Iterable[tuple[str | None, str]]) -> None:
    from airflow.sdk.log import mask_secret

    from airflow_script_provider.kube.hiding.secret_lines import secret_lines

    shortest = _configuration().getint("logging", "min_length_masked_secret", fallback=5)
    for name, value in named:
        # Airflow warns of shorter ones, whatever their name.
        if known := [text for text in (value, *secret_lines(value)) if len(text) >= shortest]:
            mask_secret([*known], name)


def _sensitive_candidates(values: Any, name: str = "") -> list[tuple[str, str]]:
    """All strings with their names; Airflow would mask each string that has no name."""
    if isinstance(values, Mapping):
        return [pair for key, value in values.items() for pair in _sensitive_candidates(value, str(key))]
    if isinstance(values, list | tuple):
        return [pair for value in values for pair in _sensitive_candidates(value, name)]
    return [(name, values)] if isinstance(values, str) and name else []


def is_resolved_at_run_time(value: Any) -> bool:
    """Whether the value is another task's output, known only when the task runs."""
    return hasattr(value, "iter_references") and hasattr(value, "resolve")


def is_mapped_at_run_time(operator: BaseOperator, argument: str) -> bool:
    """Whether ``expand`` or ``expand_kwargs`` gives the argument from another task's output."""
    has_dag = operator.has_dag()  # type: ignore[no-untyped-call]  # not annotated in Airflow
    mapped = operator.dag.task_dict.get(operator.task_id) if has_dag else None
    expanded = getattr(getattr(mapped, "expand_input", None), "value", None)
    if isinstance(expanded, Mapping):
        given = [expanded.get(argument)]
    else:
        of_each = expanded if isinstance(expanded, list | tuple) else [expanded]
        given = [one.get(argument) if isinstance(one, Mapping) else one for one in of_each]
    return any(is_resolved_at_run_time(value) for value in given)


def is_set_during_execution(value: Any) -> bool:
    """Whether the value is the placeholder for the return value of a decorated function."""
    return isinstance(value, type(SET_DURING_EXECUTION))


def depend_on_xcoms_in(operator: BaseOperator, *values: Any) -> None:
    """Make the operator wait for tasks whose outputs are in values that we wrap.

    Airflow does not look into these values.
    """
    from airflow.sdk import XComArg

    for value in values:
        XComArg.apply_upstream_relationship(operator, value)
