"""What is kept of Jobs and pods decides as the whole does."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_script_provider.kube.job import announcements
from airflow_script_provider.kube.job.diagnosis import diagnose
from airflow_script_provider.kube.job.observed.awaited import awaited
from airflow_script_provider.kube.job.observed.pruning import controller_of, pruned_event, pruned_job, pruned_pod
from airflow_script_provider.kube.job.observed.view import View
from airflow_script_provider.kube.job.progress import decide
from airflow_script_provider.kube.labels import END_ANNOTATION, FOLLOW_STATE_ANNOTATION, QUEUE_LABEL, TIMEOUT_ANNOTATION
from airflow_script_provider.kube.pods import pod_state, pod_status
from tests.builders import a_case, a_container, a_job, a_pod, a_view, an_event, some_limits

PODS = [
    a_pod(),
    a_pod(running=True),
    a_pod(exit_code=0),
    a_pod(exit_code=3),
    a_pod(oom_killed=True, memory="512Mi"),
    a_pod(waiting="ImagePullBackOff", message="manifest unknown"),
]


@pytest.mark.parametrize("pod", PODS)
def test_a_pruned_pod_says_the_same(pod: dict[str, Any]) -> None:
    """State, attempt, diagnosis and line in the log come out as of the whole pod."""
    kept = pruned_pod(pod)
    assert pod_state.state(kept) == pod_state.state(pod)
    assert pod_status.attempt(kept) == pod_status.attempt(pod)
    assert diagnose(a_case(kept)) == diagnose(a_case(pod))
    assert announcements.Announcer().pod(kept) == announcements.Announcer().pod(pod)


def test_a_pruned_pod_waits_for_the_same() -> None:
    """The names of its scheduling gates are in the log, also in a triggerer."""
    pod = a_pod(unschedulable="Scheduling is blocked due to non-empty scheduling gates")
    pod["spec"]["schedulingGates"] = [{"name": "example.com/checked"}]
    assert "example.com/checked" in (awaited(a_view(pruned_pod(pod))) or "")
    assert awaited(a_view(pruned_pod(pod))) == awaited(a_view(pod))


@pytest.mark.parametrize("condition", ["Complete", "Failed", "FailureTarget"])
def test_a_pruned_job_decides_the_same(condition: str) -> None:
    """The Job's conditions and counts are kept."""
    job = a_job(condition)
    views = [a_view(a_pod(exit_code=1), job=thing) for thing in (job, pruned_job(job))]
    assert decide(views[0], some_limits(), 1.0) == decide(views[1], some_limits(), 1.0)


def test_a_pruned_job_says_that_its_work_was_over() -> None:
    """By its annotation; those of others are not kept (R5)."""
    job = a_job()
    job["metadata"]["annotations"] = {TIMEOUT_ANNOTATION: "600", "other": "x"}
    assert pruned_job(job)["metadata"]["annotations"] == {TIMEOUT_ANNOTATION: "600"}


def test_a_pruned_job_is_in_its_queue() -> None:
    """Its label says whether a queue knows why it is suspended."""
    job = a_job(suspended=True)
    job["metadata"]["labels"] = {QUEUE_LABEL: "team-a", "other": "x"}
    assert pruned_job(job)["metadata"]["labels"] == {QUEUE_LABEL: "team-a"}


def test_a_pruned_sidecar_is_one() -> None:
    """It is told from an init container at work, which ends ``startup_timeout`` (R5)."""
    pod = a_pod(sidecars=[a_container(name="proxy", running=True)])
    assert not a_view(pruned_pod(pod)).has_begun


def test_a_pruned_pod_has_as_long_to_end() -> None:
    """A drain may give a script more time than the run gives it (R10)."""
    assert pod_status.deletion_grace_period(pruned_pod(a_pod(being_deleted=True, grace_period=900))) == 900


def test_a_pruned_event_is_as_old() -> None:
    """An event from before the last pod is settled, also in a triggerer (R11)."""
    event = an_event("FailedCreate", "no", kind="Job", name="load", last="2026-01-01T00:00:00Z")
    event |= {"metadata": {"uid": "e", "name": "e"}, "series": {"lastObservedTime": "2026-01-01T00:00:01.000000Z"}}
    kept = pruned_event(event)
    assert (kept["lastTimestamp"], kept["series"]) == (event["lastTimestamp"], event["series"])


def test_what_is_of_no_use_is_dropped() -> None:
    """Fields managers and other people's annotations weigh more than all the rest (R30)."""
    pod = a_pod(running=True)
    pod["metadata"] |= {"managedFields": [{}], "annotations": {"theirs": "x"}, "labels": {"theirs": "x"}}
    assert not {"managedFields", "annotations", "labels"} & pruned_pod(pod)["metadata"].keys()


def test_where_a_triggerer_stopped_is_kept() -> None:
    """The position that it saved with the Job is what the next one begins with."""
    job = a_job()
    job["metadata"]["annotations"] = {"theirs": "x", FOLLOW_STATE_ANNOTATION: "{}", END_ANNOTATION: "e"}
    assert pruned_job(job)["metadata"]["annotations"] == {FOLLOW_STATE_ANNOTATION: "{}", END_ANNOTATION: "e"}


def test_an_empty_job_stays_one() -> None:
    """A Job whose status is not there yet decides nothing."""
    job = {"metadata": {"name": "load", "uid": "u"}}
    assert pruned_job(job) == {"metadata": {"name": "load", "uid": "u"}, "spec": {}, "status": {}}
    assert View(job=pruned_job(job)).failures == 0


def test_whose_pod_it_is() -> None:
    """The Job's controller labels its pods."""
    pod = a_pod()
    pod["metadata"]["labels"] = {"batch.kubernetes.io/controller-uid": "job-uid"}
    assert controller_of(pruned_pod(pod)) == "job-uid"
