"""The task instance that code runs in, known by all its tries and by no other task instance.

Two deployments of Airflow may have the same DAG and run ids, and so may a DAG run that was made
again after it was deleted. Airflow has no id of a deployment, and gives a task instance another
``ti.id`` in each try. So the first try that launches something stores its own id where later
tries of the same task instance find it.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Hashable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from airflow_script_provider import _airflow
from airflow_script_provider.kube.names import TaskIdentity

STORE_KEY = "airflow_script_provider.first_try"
"""Key in Airflow's task state store: the ``ti.id`` of the first try that launched something."""
DEPLOYMENT_VARIABLE = "airflow_script_provider_deployment"
"""Airflow variable that marks a deployment of Airflow 3.1 or 3.2, which have no such store."""
KEY_KEY = "airflow_script_provider.key"
"""Key in the same store: a random secret that only this task instance has."""
_OTHERS_TURN = 1.0
"""Seconds in which another worker's first value of the variable arrives; the last one counts."""

_first_tries: dict[str, str] = {}
"""First tries by ``ti.id``, as far as this process has asked."""
_keys: dict[str, str] = {}
"""Keys by ``ti.id``, as far as this process has asked."""
_making_a_key = threading.Lock()
_log = logging.getLogger(__name__)


def task_identity(context: Mapping[str, Any]) -> TaskIdentity:
    """The task instance of a context. A process asks Airflow for it at most once.

    Raises what Airflow raises if a later try cannot learn what the first one was: to go on
    without an answer might run the script twice.
    """
    task = _airflow.task_instance(context["ti"])
    return replace(task, origin=_origin(context, task))


def current_task() -> TaskIdentity | None:
    """The task instance that this code runs in, None outside of one.

    Code may launch several Jobs of one request, so it also gets a key to tell them apart.
    """
    context = _airflow.current_context()
    if context is None:
        return None
    task = task_identity(context)
    return replace(task, key=_key(context.get("task_state_store"), task))


def current_try() -> Hashable:
    """The try of a task that this code runs in, None outside of one."""
    ti = (_airflow.current_context() or {}).get("ti")
    return None if ti is None else (getattr(ti, "id", None), getattr(ti, "try_number", None))


def _origin(context: Mapping[str, Any], task: TaskIdentity) -> str:
    deployment = _airflow.deployment_setting() or ""
    store, dag_run = context.get("task_state_store"), context.get("dag_run")
    if store is not None:
        if task.instance_id not in _first_tries:
            _first_tries[task.instance_id] = _first_try(store, task)
        return f"{deployment}/{_first_tries[task.instance_id]}"
    if dag_run is None or _airflow.has_task_state_store():
        return deployment  # the context is not Airflow's
    return f"{deployment or _deployment_in_variable()}/{dag_run.run_after.isoformat()}"


def _first_try(store: Any, task: TaskIdentity) -> str:
    """The stored first try; this try, stored from now on, if there is none."""
    stored = store.get(STORE_KEY) if task.try_number > 1 else None
    if stored:
        return str(stored)
    try:
        store.set(STORE_KEY, task.instance_id)
    except Exception as error:  # noqa: BLE001  # a backend of the site may raise anything
        _log.warning(
            "Airflow's task state store refuses a value, so a retry could not reattach to this try's Job: %s", error
        )
    return task.instance_id


def _key(store: Any, task: TaskIdentity) -> str:
    """The key of the task instance; empty if no other try needs it, or if no store keeps it."""
    is_only_try = task.try_number <= 1 and not task.has_tries_left
    if store is None or is_only_try:
        return ""
    with _making_a_key:
        if task.instance_id not in _keys:
            _keys[task.instance_id] = _stored_key(store, task)
        return _keys[task.instance_id]


def _stored_key(store: Any, task: TaskIdentity) -> str:
    """The stored key; a new one, stored from now on, if there is none and a later try needs it."""
    try:
        stored = store.get(KEY_KEY)
        if stored or not task.has_tries_left:
            return str(stored or "")
        key = secrets.token_hex(16)
        store.set(KEY_KEY, key)
    except Exception as error:  # noqa: BLE001  # a backend of the site may raise anything
        # Its message may quote the key.
        _log.warning(
            "Airflow's task state store does not keep a key for this task (%s), so a retry tells its runs of the same "
            "script apart by their number only. If the script is run several times, give each run its own name",
            type(error).__name__,
        )
        return ""
    return key


@lru_cache(maxsize=1)
def _deployment_in_variable() -> str:
    """The mark of this deployment; the first task of the deployment makes it."""
    found = _airflow.find_variable(DEPLOYMENT_VARIABLE)
    if found:
        return found
    mark = secrets.token_hex(8)
    _airflow.set_variable(
        DEPLOYMENT_VARIABLE,
        mark,
        "Keeps the Kubernetes Jobs of this Airflow apart from those of another one. Do not change it while tasks run.",
    )
    time.sleep(_OTHERS_TURN)
    return _airflow.find_variable(DEPLOYMENT_VARIABLE) or mark
