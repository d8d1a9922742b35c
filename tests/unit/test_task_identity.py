"""What all tries of a task instance have in common, and no other task instance has."""

from __future__ import annotations

import logging
import secrets
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_script_provider import _airflow, _task_identity
from airflow_script_provider._task_identity import DEPLOYMENT_VARIABLE, KEY_KEY, STORE_KEY, current_task, task_identity
from tests.state_store import StateStore

A_TIME = datetime(2026, 1, 1, tzinfo=UTC)


def a_context(instance_id: str, try_number: int = 1, max_tries: int = 2, **more: Any) -> dict[str, Any]:
    """The context of a try."""
    names = {"dag_id": "etl", "task_id": "load", "run_id": "scheduled__1", "map_index": None}
    return {"ti": SimpleNamespace(id=instance_id, try_number=try_number, max_tries=max_tries, **names), **more}


def digest(*of: Any, **more: Any) -> str:
    """What the Jobs of a try are found by."""
    return task_identity(a_context(*of, **more)).digest


@pytest.fixture
def old_airflow(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Airflow 3.1 or 3.2, which have no task state store; the variables of a deployment."""
    variables: dict[str, str] = {}
    monkeypatch.setattr(_airflow, "has_task_state_store", lambda: False)
    monkeypatch.setattr(_airflow, "find_variable", variables.get)
    monkeypatch.setattr(_airflow, "set_variable", lambda name, value, _: variables.update({name: value}))
    monkeypatch.setattr(_task_identity, "_OTHERS_TURN", 0)
    _task_identity._deployment_in_variable.cache_clear()
    return variables


def test_later_tries_have_the_first_ones_origin() -> None:
    """A try knows the first one by the store, although ``ti.id`` is new (R2, R33)."""
    store = StateStore()
    tries = [digest(f"common-{number}", number, task_state_store=store) for number in (1, 2, 3)]
    assert len(set(tries)) == 1
    assert store.kept == {STORE_KEY: "common-1"}


def test_a_later_try_may_be_the_first_that_launches() -> None:
    """If the first try has stored nothing, the tries after the second one find the second's Job (R2)."""
    store = StateStore()
    assert digest("late-2", 2, task_state_store=store) == digest("late-3", 3, task_state_store=store)


def test_a_try_that_goes_on_in_another_process_is_the_same() -> None:
    """After a deferral the first try needs no answer to know itself."""
    before = digest("deferred-1", task_state_store=StateStore())
    _task_identity._first_tries.clear()
    assert digest("deferred-1", task_state_store=StateStore()) == before


def test_a_process_asks_once() -> None:
    """Each ``hook.run`` of a task wants to know."""
    store = StateStore("asked-1")
    first = digest("asked-2", 2, task_state_store=store)
    store.kept.clear()
    assert digest("asked-2", 2, task_state_store=store) == first


def test_the_same_ids_elsewhere_are_another_task_instance() -> None:
    """Another deployment has another store, and so has a DAG run that was made again (R33)."""
    assert digest("here-2", 2, task_state_store=StateStore("here-1")) != digest(
        "there-2", 2, task_state_store=StateStore("there-1")
    )


def test_the_setting_tells_copies_of_a_database_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restored backup has the stored values of the original (R33)."""
    store = StateStore("copied-1")
    production = digest("copied-2", 2, task_state_store=store)
    monkeypatch.setenv("AIRFLOW__SCRIPT_PROVIDER__DEPLOYMENT", "staging")
    assert digest("copied-2", 2, task_state_store=store) != production


def test_a_store_that_takes_nothing_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """The script still runs; only a retry could not reattach."""

    class Full(StateStore):
        def set(self, key: str, value: Any) -> None:
            raise RuntimeError(f"no room for {key}")

    with caplog.at_level(logging.WARNING):
        digest("full-1", task_state_store=Full())
    assert "a retry could not reattach to this try's Job: no room for" in caplog.text


def test_a_store_that_does_not_answer_a_later_try_stops_it() -> None:
    """To go on might run the script twice (R2)."""

    class Silent(StateStore):
        def get(self, key: str, default: Any = None) -> Any:
            raise RuntimeError("no answer")

    with pytest.raises(RuntimeError, match="no answer"):
        digest("silent-2", 2, task_state_store=Silent())


def test_code_in_a_task_has_a_key_that_later_tries_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in Airflow only, and random: ``ti.id`` stands in the pods of an executor (R2, R26)."""
    store, keys = StateStore(), []
    for number in (1, 2):
        context = a_context(f"keyed-{number}", number, task_state_store=store)
        monkeypatch.setattr(_airflow, "current_context", lambda context=context: context)
        keys += [task.key for _ in range(2) if (task := current_task())]
    assert len(keys) == 4
    assert set(keys) == {store.kept[KEY_KEY]}
    assert len(keys[0]) == 32


def test_without_a_store_there_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is the same in every try and unknown to the cluster."""
    monkeypatch.setattr(_airflow, "current_context", lambda: a_context("keyless"))
    assert (task := current_task())
    assert task.key == ""


def test_a_try_that_is_rescheduled_keeps_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sensor goes on in another process, which has asked nothing yet."""
    store, keys = StateStore(), set()
    monkeypatch.setattr(_airflow, "current_context", lambda: a_context("poked-1", task_state_store=store))
    for _ in range(2):
        _task_identity._keys.clear()
        keys |= {task.key for task in [current_task()] if task}
    assert len(keys) == 1


class BrokenStore(StateStore):
    """It fails on one kind of call, with a message that quotes the value."""

    def __init__(self, fails: str) -> None:
        super().__init__()
        self.fails = fails

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key."""
        if self.fails == "get":
            raise RuntimeError("no answer")
        return super().get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Keep a value."""
        if self.fails == "set":
            raise PermissionError(f"refused: {value}")
        super().set(key, value)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(("fails", "named"), [("get", "RuntimeError"), ("set", "PermissionError")])
def test_a_store_that_fails_has_no_key(
    fails: str, named: str, number: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task runs on, with one warning, and the values of its runs are unknown (R2, R26)."""
    monkeypatch.setattr(secrets, "token_hex", lambda size: "k" * 2 * size)
    task = _airflow.task_instance(a_context(f"no-key-{fails}-{number}", number)["ti"])
    with caplog.at_level(logging.WARNING):
        assert [_task_identity._key(BrokenStore(fails), task) for _ in range(2)] == ["", ""]
    assert [named in record.getMessage() for record in caplog.records] == [True]
    assert "kkk" not in caplog.text


@pytest.mark.parametrize(
    ("number", "max_tries", "calls"), [(1, 0, []), (1, 1, ["get", "set"]), (2, 2, ["get", "set"]), (2, 1, ["get"])]
)
def test_the_store_is_asked_for_a_key_if_another_try_needs_it(number: int, max_tries: int, calls: list[str]) -> None:
    """A task without retries makes no call for it; the last try has to know the key, but not to make one."""
    asked: list[str] = []

    class Watched(StateStore):
        def get(self, key: str, default: Any = None) -> Any:
            asked.append("get")
            return super().get(key, default)

        def set(self, key: str, value: Any) -> None:
            asked.append("set")
            super().set(key, value)

    task = _airflow.task_instance(a_context(f"needs-{number}-{max_tries}", number, max_tries)["ti"])
    key = _task_identity._key(Watched(), task)
    assert asked == calls
    assert bool(key) is ("set" in calls)


def test_an_operator_asks_for_no_key() -> None:
    """It launches one Job, which its request tells from all others."""
    store = StateStore()
    assert task_identity(a_context("operator-1", task_state_store=store)).key == ""
    assert store.kept == {STORE_KEY: "operator-1"}


def test_an_old_airflow_is_marked_by_a_variable(old_airflow: dict[str, str]) -> None:
    """The first task makes it, all others find it; deployments differ (R2, R33)."""
    run = SimpleNamespace(run_after=A_TIME)
    first = digest("old-1", dag_run=run)
    assert digest("old-2", 2, dag_run=run) == first
    mark = old_airflow.pop(DEPLOYMENT_VARIABLE)
    assert len(mark) == 16
    _task_identity._deployment_in_variable.cache_clear()
    assert digest("old-1", dag_run=run) != first


def test_an_old_airflow_knows_a_run_by_its_time(old_airflow: dict[str, str]) -> None:
    """A manual run that was made again has another ``run_after`` (R33)."""
    runs = [SimpleNamespace(run_after=A_TIME.replace(day=day)) for day in (1, 2)]
    assert digest("again-1", dag_run=runs[0]) != digest("again-1", dag_run=runs[1])
    assert len(old_airflow) == 1


def test_the_setting_takes_the_place_of_the_variable(
    old_airflow: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site that names its deployments has no variable made."""
    monkeypatch.setenv("AIRFLOW__SCRIPT_PROVIDER__DEPLOYMENT", "production")
    digest("named-1", dag_run=SimpleNamespace(run_after=A_TIME))
    assert old_airflow == {}
