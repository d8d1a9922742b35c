"""What is worth a line in the log."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from airflow_script_provider.kube.causes.queue import as_event
from airflow_script_provider.kube.hiding import Hide, hider
from airflow_script_provider.kube.job.announcements import (
    AWAITED_INTERVAL,
    LAUNCH_GRACE,
    NO_POD_AFTER,
    NOT_BEGUN_AFTER,
    Announced,
    Announcer,
    Line,
    unexplained,
)
from airflow_script_provider.kube.labels import QUEUE_LABEL
from tests.builders import PodObject, a_container, a_job, a_pod, a_view, an_event

LATER = LAUNCH_GRACE + 1
SHORT = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor default, 1 more needed"


def texts(lines: list[Line]) -> list[str]:
    """The lines without their levels."""
    return [line.text for line in lines]


def test_each_state_is_said_once() -> None:
    """A pod that runs is said to run once, however often it changes (R22)."""
    announcer = Announcer()
    assert texts(announcer.pod(a_pod(running=True))) == ["Pod load-x1 is running on node-1"]
    assert announcer.pod(a_pod(running=True)) == []


NO_ROOM = "0/2 nodes are available: 2 Insufficient memory."
TAINTED = "0/2 nodes are available: 2 node(s) had untolerated taint {gpu: }."


def test_trouble_is_a_warning_with_a_hint() -> None:
    """What keeps a pod from starting is a warning that says what to do (R15)."""
    (line,) = Announcer().pod(a_pod(waiting="ErrImagePull", message="EOF"))
    assert line.level == logging.WARNING
    assert line.text.endswith("Check image and image_pull_secrets.")


def test_a_wait_for_a_node_is_a_warning_with_a_hint() -> None:
    """It names the scheduler's reason, and what to change (R15)."""
    (line,) = Announcer().waits(a_view(a_pod(unschedulable=TAINTED)), 0)
    assert line.level == logging.WARNING
    assert line.text == f"Pod load-x1 is waiting for a node: Unschedulable: {TAINTED} Set tolerations."


def test_a_wait_is_announced_by_one_line() -> None:
    """The pod's state is no second line about it."""
    pod = a_pod(unschedulable=NO_ROOM)
    announcer = Announcer()
    assert (len(announcer.waits(a_view(pod), 0)), announcer.pod(pod)) == (1, [])
    assert texts(announcer.pod(a_pod(running=True))) == ["Pod load-x1 is running on node-1"]


def test_a_wait_is_announced_at_its_start_and_at_each_change() -> None:
    """The same report is no news, however long the wait."""
    announcer = Announcer()
    reports = [(NO_ROOM, 0), (NO_ROOM, 100), (TAINTED, 200), (TAINTED, 300), (NO_ROOM, 400)]
    lines = [announcer.waits(a_view(a_pod(unschedulable=report)), now) for report, now in reports]
    assert [len(line) for line in lines] == [1, 0, 1, 0, 1]


def test_a_wait_is_announced_at_most_once_a_minute() -> None:
    """A scheduler may report a change each second: the last one counts when the minute is over."""
    announcer = Announcer()
    announcer.waits(a_view(a_pod(unschedulable=NO_ROOM)), 10)
    changed = a_view(a_pod(unschedulable=TAINTED))
    assert (announcer.waits(changed, 30), announcer.due) == ([], 10 + AWAITED_INTERVAL)
    assert len(announcer.waits(changed, announcer.due or 0)) == 1
    assert announcer.due is None


def test_a_change_that_is_taken_back_is_no_line() -> None:
    """What was said last still holds."""
    announcer = Announcer()
    announcer.waits(a_view(a_pod(unschedulable=NO_ROOM)), 0)
    announcer.waits(a_view(a_pod(unschedulable=TAINTED)), 30)
    assert announcer.waits(a_view(a_pod(unschedulable=NO_ROOM)), 90) == []
    assert announcer.due is None


def test_the_next_announcer_does_not_repeat_a_wait() -> None:
    """Nor is a change of it sooner than a minute after (R29)."""
    first = Announcer()
    first.waits(a_view(a_pod(unschedulable=NO_ROOM)), 0)
    second = Announcer(Announced.from_dict(first.announced.to_dict()))
    assert second.waits(a_view(), 500) == []
    assert second.waits(a_view(a_pod(unschedulable=NO_ROOM)), 501) == []
    assert second.waits(a_view(a_pod(unschedulable=TAINTED)), 502) == []
    assert len(second.waits(a_view(a_pod(unschedulable=TAINTED)), 560)) == 1


def test_a_wait_that_comes_again_is_announced_again() -> None:
    """A pod of a later attempt may be kept by the same quota."""
    quota, announcer = of_quota("7680Mi", 1), Announcer()
    waits = a_view().with_event(quota, 1)
    assert len(announcer.waits(waits, 1)) == 1
    assert announcer.waits(a_view(a_pod(running=True)), 100) == []
    assert len(announcer.waits(waits, 200)) == 1


def test_a_second_pod_is_an_attempt() -> None:
    """Attempts after the first are numbered (R7)."""
    announcer = Announcer()
    announcer.pod(a_pod("first", exit_code=1))
    assert texts(announcer.pod(a_pod("second"))) == ["Attempt 2: Pod second is starting on node-1"]


def test_a_pod_that_was_ended_while_installing_says_why() -> None:
    """The installation's exit code says nothing (R22)."""
    ended: dict[str, Any] = {"phase": "Failed", "pod_reason": "Evicted", "pod_message": "Low on resource: memory"}
    pod = a_pod(waiting="PodInitializing", installers=[a_container(name="install", exit_code=137)], **ended)
    assert texts(Announcer().pod(pod)) == ["Pod load-x1 failed on node-1: Evicted: Low on resource: memory"]


@pytest.mark.parametrize(
    ("message", "reason", "hide", "shown"),
    [
        ("could not install: cannot fetch https://h/t0ken-t0ken/x.whl", "Error", None, "could not install"),
        ("could not install: cannot fetch https://h/t0ken-t0ken/x.whl", "Error", hider(["t0ken-t0ken"]),
         "could not install: cannot fetch https://h/***/x.whl"),
        ('could not install "pandaz": no matching distribution', "Error", None,
         'could not install "pandaz": no matching distribution'),
        ("", "OOMKilled", None, 'container "install" was OOMKilled (exit 97)'),
        ('exec: "t0ken-t0ken": not found', "StartError", None,
         'container "install" could not start: exec: "…": not found'),
    ],
)  # fmt: skip
def test_an_installation_quotes_no_value(message: str, reason: str, hide: Hide | None, shown: str) -> None:
    """A triggerer knows no value, and an installer quotes the URL of a requirement (R26)."""
    installer = a_container(name="install", exit_code=97, message=message, reason=reason)
    pod = a_pod(waiting="PodInitializing", installers=[installer], phase="Failed")
    assert texts(Announcer(hide=hide).pod(pod)) == [f"Pod load-x1 failed on node-1: {shown}"]


def test_a_deleted_pod_is_said() -> None:
    """A pod that vanished while it ran is said (R7)."""
    announcer = Announcer()
    announcer.pod(a_pod(running=True))
    assert texts(announcer.pod(a_pod(running=True), deleted=True)) == ["Pod load-x1 was deleted"]


def test_an_end_is_the_last_word_on_a_pod() -> None:
    """The removal of a pod that has ended is nobody's business."""
    announcer = Announcer()
    announcer.pod(a_pod(exit_code=0))
    assert announcer.pod(a_pod(exit_code=0, being_deleted=True), deleted=True) == []


def test_a_warning_is_said_once_however_often_it_comes() -> None:
    """Retried creations name another pod each time, and are one warning (R11)."""
    announcer = Announcer()
    said = [
        announcer.event(an_event("FailedCreate", f'pods "load-{suffix}" is forbidden: no', kind="Job", name="load"), 20)
        for suffix in ("ab1cd", "ef2gh")
    ]
    assert [len(lines) for lines in said] == [1, 0]


def test_a_warning_says_what_to_do() -> None:
    """The Job's own FailedCreate message is in the log, with the argument (R11, R18)."""
    event = an_event("FailedCreate", 'error looking up service account etl/load: serviceaccount "load" not found',
                     kind="Job", name="load")  # fmt: skip
    (line,) = Announcer().event(event, 1)
    assert line.text.startswith("Job load: FailedCreate: error looking up service account etl/load")
    assert line.text.endswith("Create it, or change service_account_name.")


def of_quota(used: str, second: int) -> dict[str, Any]:
    """An event that the quota ``compute`` refuses a pod."""
    message = (
        'Error creating: pods "load-x1" is forbidden: exceeded quota: compute, '
        f"requested: limits.memory=1Gi, used: limits.memory={used}, limited: limits.memory=8Gi"
    )
    return an_event("FailedCreate", message, kind="Job", name="load", last=f"2026-01-01T00:00:{second:02}Z")


def test_a_wait_for_a_quota_names_it_with_its_figures() -> None:
    """The line says how much is missing; its event is the warning of a later failure (R18)."""
    announcer, view = Announcer(), a_view()
    lines: list[str] = []
    for used, second in (("7680Mi", 1), ("8Gi", 2)):
        event = of_quota(used, second)
        assert announcer.event(event, second) == []
        view = view.with_event(event, second)
        lines += texts(announcer.waits(view, 100 * second))
    advice = "Ask for less in container_resources, or free some of the quota."
    assert lines == [
        f"Job load is waiting for quota compute: limits.memory {used} of 8Gi used, 1Gi asked. {advice}"
        for used in ("7680Mi", "8Gi")
    ]
    (warning,) = announcer.warnings
    assert "used: limits.memory=8Gi" in warning


SIGNED = "failed to copy: unexpected status code https://s3.example.com/blob?X-Amz-Signature=deadbeef: 503 Unavailable"
WITH_LOGIN = 'Get "https://user:pass/w0rd@reg.example.com/v2/": dial tcp 10.0.0.9:443: connection refused'
RUNTIMES = 'failed to create containerd task: exec: "hunter22 x": executable file not found in $PATH'
HOOKED = 'Exec lifecycle hook ([sh -c x]) for Container failed - error: command exited with 1: , message: "hunter22"'


@pytest.mark.parametrize(
    ("waiting", "message", "shown"),
    [
        ("ErrImagePull", SIGNED, "https://s3.example.com/blob?…: 503 Unavailable"),
        ("ErrImagePull", WITH_LOGIN, '"https://***@reg.example.com/v2/": dial tcp 10.0.0.9:443: connection refused'),
        ("ImagePullBackOff", "reading docker://reg:5000/a@sha256:0123: 503", "docker://reg:5000/a@sha256:0123: 503"),
        ("CreateContainerError", RUNTIMES, 'CreateContainerError: exec: "…": executable file not found in $PATH'),
        ("RunContainerError", RUNTIMES, 'RunContainerError: exec: "…": executable file not found in $PATH'),
        ("PostStartHookError", HOOKED, "is waiting on node-1: PostStartHookError"),
    ],
)
def test_a_waiting_pod_shows_no_secret(waiting: str, message: str, shown: str) -> None:
    """A registry may quote a login or a signed URL, a hook's message what it printed (R26)."""
    (line,) = Announcer().pod(a_pod(waiting=waiting, message=message))
    assert shown in line.text
    assert not [secret for secret in ("deadbeef", "w0rd", "hunter22") if secret in line.text]


def test_a_runtimes_message_is_without_the_values_of_the_run() -> None:
    """As in the first line of a failure: what else it quotes can be read (R22, R26)."""
    (line,) = Announcer(hide=hider(["hunter22"])).pod(a_pod(waiting="CreateContainerError", message=RUNTIMES))
    assert 'exec: "*** x": executable file not found' in line.text


@pytest.mark.parametrize(
    ("reason", "message", "shown"),
    [
        (
            "FailedMount",
            "Mounting arguments: -t cifs -o username=etl,password=hunter22,x,vers=3.0 //nas/in /mnt Output: error(13)",
            "username=etl,password=***,vers=3.0 //nas/in",
        ),
        ("FailedMount", "mount -o secret=hunter22 failed", "mount -o secret=*** failed"),
        ("FailedMount", "mount --opt='PASSWD=hunter22' failed", "mount --opt='PASSWD=***' failed"),
        ("FailedMount", 'MountVolume.SetUp failed: secret "etl-token" not found', 'secret "etl-token" not found'),
    ],
)
def test_an_event_shows_no_password_of_an_option(reason: str, message: str, shown: str) -> None:
    """A kubelet quotes the options of a mount that failed (R26)."""
    event = {"involvedObject": {"kind": "Pod", "name": "load-x1"}, "reason": reason, "message": message}
    (line,) = Announcer().event(event, 99)
    assert shown in line.text
    assert "hunter22" not in line.text


@pytest.mark.parametrize(
    ("reason", "message", "shown"),
    [
        ("FailedMount", SIGNED, "https://s3.example.com/blob?…: 503 Unavailable"),
        ("FailedMount", WITH_LOGIN, "https://***@reg.example.com/v2/"),
        ("FailedPostStartHook", "PostStartHook failed: hunter22", "FailedPostStartHook: PostStartHook failed"),
        ("Unhealthy", "Liveness probe failed: hunter22", "Unhealthy: Liveness probe failed"),
    ],
)
def test_an_event_shows_no_secret(reason: str, message: str, shown: str) -> None:
    """Neither in the log nor in the warnings of the failure (R26)."""
    announcer = Announcer()
    (line,) = announcer.event(an_event(reason, message), LATER)
    for text in (line.text, *announcer.warnings):
        assert shown in text
        assert not [secret for secret in ("deadbeef", "w0rd", "hunter22") if secret in text]


def test_warnings_are_kept_for_the_failure() -> None:
    """A failure shows the warnings that were said, without hints."""
    announcer = Announcer()
    announcer.event(an_event("FailedMount", "exceeded quota"), LATER)
    assert announcer.warnings == ("Pod load-x1: FailedMount: exceeded quota",)


def test_what_the_pods_status_says_is_not_said_again() -> None:
    """Events that repeat the pod's status are left out (R15)."""
    announcer = Announcer()
    assert announcer.event(an_event("FailedScheduling", "0/2 nodes"), LATER) == []
    assert announcer.warnings == ()


def test_our_own_objects_may_be_late() -> None:
    """ConfigMap and Secret are created after the Job; that a pod waits for them is no warning at first."""
    announcer = Announcer(own_objects=["load-script"])
    event = an_event("FailedMount", 'configmap "load-script" not found')
    assert announcer.event(event, 1) == []
    assert len(announcer.event(event, LATER)) == 1


def test_others_objects_are_no_secret() -> None:
    """A missing object of the author's is said at once (R15)."""
    announcer = Announcer(own_objects=["load-script"])
    assert announcer.event(an_event("FailedMount", 'configmap "settings" not found'), 1)


def test_a_suspended_job_says_why_nothing_happens() -> None:
    """Suspension and its end are said once each (R11)."""
    announcer = Announcer()
    jobs = [a_job(), a_job(suspended=True), a_job(suspended=True), a_job()]
    assert [text for job in jobs for text in texts(announcer.job(job))] == [
        "Job load is suspended; waiting for it to be resumed",
        "Job load is resumed",
    ]


def test_an_image_that_may_not_be_pulled_is_said_once() -> None:
    """The pod's state says it, so the event need not (R15)."""
    announcer = Announcer()
    assert len(announcer.pod(a_pod(waiting="ErrImageNeverPull", message="Container image is not present"))) == 1
    assert announcer.event(an_event("ErrImageNeverPull", "Container image is not present"), LATER) == []


@pytest.mark.parametrize(
    ("pods", "age", "uids"),
    [
        ([], NO_POD_AFTER / 2, []),
        ([], NO_POD_AFTER, ["uid-load"]),
        ([a_pod()], NO_POD_AFTER, []),
        ([a_pod()], NOT_BEGUN_AFTER, ["uid-load-x1"]),
        ([a_pod(running=True)], NOT_BEGUN_AFTER, []),
        ([a_pod(exit_code=1)], NOT_BEGUN_AFTER, ["uid-load"]),
        ([a_pod("first", exit_code=1), a_pod("second")], NOT_BEGUN_AFTER, ["uid-second"]),
        ([a_pod("first", running=True), a_pod("second", unschedulable="no room")], NOT_BEGUN_AFTER, ["uid-second"]),
    ],
)
def test_what_only_events_explain(pods: list[PodObject], age: float, uids: list[str]) -> None:
    """The events of a Job without a pod, and of a pod that does not begin, say what no status says (R11)."""
    assert unexplained(a_view(*pods), "uid-load", age) == [(uid, "events") for uid in uids]


def test_a_pod_that_is_gone_needs_no_explanation() -> None:
    """The Job's events say why there is no other one (R11)."""
    view = a_view(a_pod()).with_pod(a_pod(), 0.0, deleted=True)
    assert unexplained(view, "uid-load", NOT_BEGUN_AFTER) == [("uid-load", "events")]


@pytest.mark.parametrize(
    ("suspended", "labels", "is_asked"),
    [(True, {QUEUE_LABEL: "team-a"}, True), (True, {}, False), (False, {QUEUE_LABEL: "team-a"}, False)],
    ids=["in a queue", "suspended by a user", "admitted"],
)
def test_what_only_a_queue_explains(suspended: bool, labels: dict[str, str], is_asked: bool) -> None:
    """No other run asks for workloads, which a cluster may not have (R39)."""
    job = a_job(suspended=suspended)
    view = a_view(job=job | {"metadata": job["metadata"] | {"labels": labels}})
    asked = [resource for _, resource in unexplained(view, "uid-load", NO_POD_AFTER)]
    assert ("workloads" in asked) is is_asked


def a_workload(reason: str = "Pending", message: str = SHORT) -> dict[str, Any]:
    """The Workload of a Job in the queue ``team-a``, in the form of an event; without a reason it is admitted."""
    quota = {"type": "QuotaReserved", "status": "False" if reason else "True", "reason": reason, "message": message}
    metadata = {"uid": "w", "name": "job-load-f5fbe", "labels": {"kueue.x-k8s.io/job-uid": "uid-load"}}
    return as_event({"metadata": metadata, "spec": {"queueName": "team-a"}, "status": {"conditions": [quota]}})


def test_a_wait_in_a_queue_names_it_and_what_is_short() -> None:
    """The Workload is the warning of a later failure, until the Job is admitted (R11, R18)."""
    announcer, view = Announcer(), a_view(job=a_job(suspended=True))
    assert announcer.event(a_workload(), 1) == []
    assert texts(announcer.waits(view, 1)) == ["Job load is waiting in queue team-a: 1 cpu short in flavor default"]
    assert announcer.warnings == ("Workload job-load-f5fbe: Pending: 1 cpu short in flavor default",)
    announcer.event(a_workload("Inadmissible", "LocalQueue team-a doesn't exist"), 70)
    (line,) = texts(announcer.waits(view, 70))
    assert line == "Job load is waiting in queue team-a: LocalQueue team-a doesn't exist"
    announcer.event(a_workload(""), 80)
    assert announcer.waits(view, 200) == []
    assert not announcer.warnings


def test_what_an_earlier_version_has_stored_shows_no_secret() -> None:
    """It kept the events of hooks and probes with what these printed (R26)."""
    stored = {
        "probe": "Pod load-x1: Unhealthy: Startup probe failed: token hunter2 refused",
        "mount": "Pod load-x1: FailedMount: no disk: full",
    }
    left = Announced.from_dict({"warnings": stored})
    assert left.warnings == stored | {"probe": "Pod load-x1: Unhealthy: Startup probe failed"}
