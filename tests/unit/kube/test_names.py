"""Names, labels and digests of one launch."""

from __future__ import annotations

import re
from typing import Any

import pytest

from airflow_script_provider.kube import names
from airflow_script_provider.kube.labels import LAUNCH_LABEL, MANAGED_BY_LABEL
from airflow_script_provider.kube.names import LaunchIdentity
from tests.builders import a_task

LONG_DAG = "Sales.Übersicht-" * 16
LEGAL_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LEGAL_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def test_a_launch_repeated_is_the_same_job() -> None:
    """Try, ordinal and request give one id, however often they are asked (R2)."""
    facts = {"script": "abc", "options": {"image": "x"}}
    assert names.launch_id("instance-1", 0, facts) == names.launch_id("instance-1", 0, dict(reversed(facts.items())))


@pytest.mark.parametrize(("instance", "ordinal", "facts"), [("i2", 0, {}), ("i1", 1, {}), ("i1", 0, {"script": "b"})])
def test_each_part_makes_another_launch(instance: str, ordinal: int, facts: dict[str, str]) -> None:
    """Another try, another launch within the try and another request are other Jobs (R2, R8)."""
    assert names.launch_id(instance, ordinal, facts) != names.launch_id("i1", 0, {})


def test_tries_share_the_digest_of_their_request() -> None:
    """Another launch of the task and another request have other digests, another try has not: it finds its Job (R2)."""
    digest = names.request_digest(0, {"script": "abc", "image": "x"})
    assert digest == names.request_digest(0, {"image": "x", "script": "abc"})
    assert digest != names.request_digest(1, {"script": "abc", "image": "x"})
    assert digest != names.request_digest(0, {"script": "abc", "image": "y"})


def test_outside_a_task_ids_are_random() -> None:
    """Without a task two launches are two Jobs."""
    assert names.launch_id(None, 0, {}) != names.launch_id(None, 0, {})


def test_ids_have_ten_hexadecimal_digits() -> None:
    """Random or not, an id has the same form."""
    for launch_id in (names.launch_id(None, 0, {}), names.launch_id("i1", 0, {})):
        assert re.fullmatch("[0-9a-f]{10}", launch_id)


def test_borders_count_in_a_digest() -> None:
    """``("ab", "c")`` and ``("a", "bc")`` are different things."""
    assert names.short_digest("ab", "c") != names.short_digest("a", "bc")


@pytest.mark.parametrize(
    ("task_id", "name", "stem"),
    [
        ("load", None, "script-load"),
        ("group.Load_All", None, "script-group-load-all"),
        ("日本", None, "script"),
        ("load", "nightly", "nightly"),
        (None, None, "script"),
    ],
)
def test_what_a_name_starts_with(task_id: str | None, name: str | None, stem: str) -> None:
    """The task's name as part of a DNS label, or the author's (R28)."""
    assert names.stem_for(task_id, name) == stem


@pytest.mark.parametrize("task_id", ["x" * 250, "a" * 44 + "-" * 5 + "b", "Ü" * 250, "a.b.C_d"])
def test_job_names_are_legal(task_id: str) -> None:
    """However long or strange the task's id, the Job's name is legal, at most 63 characters, and keeps the id (R28)."""
    job_name = LaunchIdentity("0123456789", names.stem_for(task_id, None)).job_name
    assert LEGAL_NAME.fullmatch(job_name)
    assert job_name.endswith("-0123456789")


@pytest.mark.parametrize("length", [43, 44, 45, 250])
def test_the_name_of_an_owner_leaves_room_for_an_index(length: int) -> None:
    """Kubernetes refuses an indexed Job if its name and an index are not a label; no other name is shorter (R28)."""
    stem = names.stem_for("x" * length, None)
    owner = LaunchIdentity("0123456789", stem, is_for_nodes=True).job_name
    assert LEGAL_NAME.fullmatch(f"{owner}-0")
    assert len(owner) == min(len(stem) + 11, 61)
    assert len(LaunchIdentity("0123456789", stem).job_name) == min(len(stem) + 11, 63)


def test_the_objects_are_named_after_the_job() -> None:
    """ConfigMap and Secret are found by the Job's name."""
    identity = LaunchIdentity("0123456789", "script-load")
    assert identity.config_map_name == "script-load-0123456789-script"
    assert identity.secret_name == "script-load-0123456789-env"


def test_labels_of_a_task_are_legal() -> None:
    """Long ids with dots, capitals and umlauts become legal label values (R28)."""
    task = a_task(dag_id=LONG_DAG, task_id="ünï.-", map_index=1000)
    labels = LaunchIdentity("0123456789", task=task).labels()
    assert all(LEGAL_LABEL.fullmatch(value) for value in labels.values())


def test_annotations_hold_the_raw_values() -> None:
    """What a label has to cut, an annotation keeps whole (R28)."""
    annotations = LaunchIdentity("0123456789", task=a_task(dag_id=LONG_DAG, map_index=1000)).annotations()
    assert annotations["airflow-script-provider/dag-id"] == LONG_DAG
    assert annotations["airflow-script-provider/map-index"] == "1000"


def test_what_airflow_does_not_tell_is_no_annotation() -> None:
    """A task instance without ``max_tries`` has no annotation of that name."""
    assert "airflow-script-provider/max-tries" not in a_task(max_tries=None).annotations()


@pytest.mark.parametrize(
    ("try_number", "max_tries", "left"), [(1, 0, False), (1, 1, True), (2, 1, False), (1, None, False)]
)
def test_tries_left(try_number: int, max_tries: int | None, left: bool) -> None:
    """``max_tries`` counts the tries that are followed by another one; where it is not known none is counted on."""
    assert a_task(try_number=try_number, max_tries=max_tries).has_tries_left is left


def test_tries_share_the_task_instance_label() -> None:
    """All tries of a task instance are found by one label, those of another map index are not (R28)."""
    assert a_task(try_number=1).digest == a_task(try_number=2, instance_id="instance-2").digest
    assert a_task(map_index=0).digest != a_task(map_index=1).digest


def test_task_instances_of_the_same_ids_but_another_origin_share_nothing() -> None:
    """Another deployment, or a DAG run that was made again, finds none of our Jobs (R33)."""
    assert a_task(origin="/first").digest != a_task(origin="/other").digest


def test_a_launch_outside_a_task_has_no_task_labels() -> None:
    """Only what everything of ours has."""
    identity = LaunchIdentity("0123456789")
    assert set(identity.labels()) == {MANAGED_BY_LABEL, LAUNCH_LABEL}
    assert identity.annotations() == {}


FACTS = {"script": "abc"}


def a_call(**changes: Any) -> str:
    """The digest of a call in a task with a key."""
    values: dict[str, Any] = {"arguments": ["7"], "environment": {"TOKEN": "hunter2"}, "key": "k" * 32}
    key = (values := values | changes).pop("key")
    found = names.call_digest(a_task(key=key), FACTS, **values)
    assert found is not None
    return found


def test_a_call_is_known_by_its_values() -> None:
    """The next try, which has the same key, makes the same digest of the same values (R2)."""
    assert a_call() == a_call(arguments=("7",))
    assert LaunchIdentity("0123456789", call=a_call()).annotations() == {"airflow-script-provider/call": a_call()}


@pytest.mark.parametrize(
    "changes", [{"key": "l" * 32}, {"arguments": ["8"]}, {"arguments": []}, {"environment": {"TOKEN": "other"}}]
)
def test_other_values_or_another_key_make_another_call(changes: dict[str, Any]) -> None:
    """Without the key no guess of a value can be tested (R26)."""
    assert a_call() != a_call(**changes)


def test_an_argument_is_no_variable() -> None:
    """What is given as an argument is not the same call as what is given in ``env``."""
    assert a_call(arguments=["TOKEN", "x"], environment={}) != a_call(arguments=[], environment={"TOKEN": "x"})


def test_without_a_key_nothing_is_said_of_values() -> None:
    """A digest that anybody could make would be as good as a short secret itself (R26)."""
    assert names.call_digest(a_task(), FACTS, ["7"], {}) is None
    assert "airflow-script-provider/call" not in LaunchIdentity("0123456789", task=a_task()).annotations()


def test_the_key_is_not_shown() -> None:
    """A task instance may be logged (R26)."""
    assert "kkk" not in repr(a_task(key="k" * 32))


@pytest.mark.parametrize(
    ("job", "pod", "is_its"),
    [
        ("load-0123456789", "load-0123456789-x8k2q", True),
        ("load", "load-0123456789-x8k2q", False),
        ("load-1", "load-10-x8k2q", False),
        ("n" * 57, "n" * 57 + "-x8k2q", True),
        ("n" * 63, "n" * 58 + "x8k2q", True),
        ("n" * 63, "n" * 57 + "-x8k2q", False),
    ],
)
def test_the_names_of_pods(job: str, pod: str, is_its: bool) -> None:
    """Kubernetes appends five characters, and cuts a long name before (R1)."""
    assert names.is_pod_of(job, pod) is is_its
