"""What a launched Job carries of its request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob, limits_of
from airflow_script_provider.kube.job.manifest import pod_template
from airflow_script_provider.kube.job.verdict import Limits
from tests.builders import IMAGE, LAUNCH_ID, a_request, a_script

REF = JobRef("etl", "script-load-0123456789", "job-uid")


def test_a_job_is_launched_of_a_request() -> None:
    """Names, bounds and digests, nothing of the script itself (R16)."""
    request = a_request(deadline=600, skip_on_exit_code=99)
    assert LaunchedJob.of(request, REF, 12.5) == LaunchedJob(
        REF,
        12.5,
        limits_of(request),
        a_script().facts,
        {},
        image=IMAGE,
        program="python3",
        config_map_name=f"script-load-{LAUNCH_ID}-script",
        skip_codes=frozenset({99}),
        ttl_when_read=request.ttl_when_read,
    )


def test_a_file_is_named_as_xcom_can_name_it() -> None:
    """The result's entry of files travels in a trigger and in XCom (R35)."""
    request = a_request(files={"__example__": a_script("x")})
    assert list(LaunchedJob.of(request, REF, 1.5).files) == ["example"]


def test_a_secret_is_remembered_where_there_is_one() -> None:
    """It is removed as soon as the Job is over (R16)."""
    assert LaunchedJob.of(a_request(env={"A": "b"}), REF, 0.0).secret_name == f"script-load-{LAUNCH_ID}-env"
    assert LaunchedJob.of(a_request(), REF, 0.0).secret_name is None


def test_packages_end_with_a_mark() -> None:
    """The last line of their installation in the script's own log (R19)."""
    assert LaunchedJob.of(a_request(install_packages=["jq"]), REF, 0.0).mark == LAUNCH_ID
    assert LaunchedJob.of(a_request(), REF, 0.0).mark is None


def test_limits_are_those_of_the_options() -> None:
    """In seconds, and the deadline by the name of its argument (R5)."""
    request = a_request(
        deadline=4000, startup_timeout=60, backoff_limit=1, fail_on_exit_code=[42], termination_grace_period=7
    )
    assert limits_of(request) == Limits(
        startup_timeout=60,
        timeout=600,
        deadline=4000,
        deadline_name="timeout",
        grace_period=7,
        backoff_limit=1,
        final_codes=frozenset({42}),
    )


def test_kubernetes_ends_the_work_of_an_earlier_version() -> None:
    """Its ``timeout`` is the Job's deadline, so a follower that is new leaves it to that (R5)."""
    limits = limits_of(a_request(deadline=600, timeout=600))
    assert (limits.timeout, limits.deadline, limits.is_guarded) == (None, 600, False)


@pytest.mark.parametrize("removed", [{"terminationGracePeriodSeconds": None}, {"securityContext": None}])
def test_an_override_may_remove_what_is_read(removed: dict[str, Any]) -> None:
    """Kubernetes' own value then holds, of which the bounds of the run know (R6)."""
    request = a_request(pod_overrides={"spec": removed}, termination_grace_period=30)
    assert LaunchedJob.before_launch(request, 0.0).limits == limits_of(a_request())


def test_an_override_sets_the_grace_period() -> None:
    """The pod has it, so it is waited for (R27)."""
    request = a_request(pod_overrides={"spec": {"terminationGracePeriodSeconds": 3}})
    assert limits_of(request).grace_period == 3


@pytest.mark.parametrize(
    "options",
    [{"termination_grace_period": 0}, {"pod_overrides": {"spec": {"terminationGracePeriodSeconds": 0}}}],
    ids=["argument", "override"],
)
def test_no_deletion_of_a_pod_is_a_forced_one(options: dict[str, Any]) -> None:
    """Without a grace period the pod would be gone before its script's end, and a retry would begin beside it (R5)."""
    request = a_request(**options)
    assert pod_template(request)["spec"]["terminationGracePeriodSeconds"] == 1
    assert limits_of(request).grace_period == 1


def test_check_digits_of_values_travel_where_there_are_some() -> None:
    """A row without any is the same as that of an earlier version (R4, R26)."""
    job = LaunchedJob.of(a_request(env={"A": "b"}), REF, 0.0)
    assert "check_digits" not in job.to_dict()
    known = replace(job, check_digits="a1f")
    assert LaunchedJob.from_dict(known.to_dict()) == known
