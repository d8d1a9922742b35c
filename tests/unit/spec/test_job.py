"""The part ``job`` of a step."""

from __future__ import annotations

import math
from typing import Any

import pytest

from airflow_script_provider.spec.job import job_arguments

OURS = {
    "image": "node:20-slim",
    "namespace": "etl",
    "timeout": 60,
    "backoff_limit": 1,
    "ttl_seconds_after_finished": 30,
    "install_dependencies": ["numpy"],
    "image_pull_policy": "Always",
    "container_resources": {"limits": {"memory": "1Gi"}},
    "env": {"A": "b"},
}


def test_flat_spelling() -> None:
    """The flat form has snake case."""
    job = {name: value for name, value in OURS.items() if name != "container_resources"}
    assert job_arguments(job | {"resources": {"limits": {"memory": "1Gi"}}}) == OURS


def test_nested_spelling() -> None:
    """The nested form has camel case, as Kubernetes has."""
    job = {
        "image": "node:20-slim",
        "namespace": "etl",
        "activeDeadlineSeconds": 60,
        "backoffLimit": 1,
        "ttlSecondsAfterFinished": 30,
        "install_dependencies": ["numpy"],
        "imagePullPolicy": "Always",
        "resources": {"limits": {"memory": "1Gi"}},
        "env": {"A": "b"},
    }
    assert job_arguments(job) == OURS


@pytest.mark.parametrize("job", [None, {}, {"env": None, "timeout": None}])
def test_nothing_said_is_nothing_given(job: Any) -> None:
    """Empty parts leave the operator's defaults alone."""
    assert job_arguments(job) == {}


def test_both_spellings_may_agree() -> None:
    """Two spellings with the same value are accepted."""
    assert job_arguments({"timeout": 60, "activeDeadlineSeconds": 60}) == {"timeout": 60}


@pytest.mark.parametrize(
    ("job", "timeout"),
    [
        ({"timeout": 120, "activeDeadlineSeconds": 60}, 60),
        ({"timeout": "60", "activeDeadlineSeconds": 120}, 60),
        ({"timeout": 60, "active_deadline_seconds": "90.5"}, 60),
        ({"timeout": "{{ a }}", "activeDeadlineSeconds": "{{ a }}"}, "{{ a }}"),
    ],
)
def test_of_two_times_the_shorter_one_counts(job: dict[str, Any], timeout: Any) -> None:
    """The Job's deadline, and how long the tool waits for the Job."""
    assert job_arguments(job) == {"timeout": timeout}


def test_a_template_of_a_time_stands_alone() -> None:
    """Which of the two is shorter is unknown when the DAG is parsed."""
    with pytest.raises(ValueError, match=r"job has timeout: .* and activeDeadlineSeconds: .*keep one of them"):
        job_arguments({"timeout": "{{ a }}", "activeDeadlineSeconds": 60})


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("60", 60),
        (" 60 ", 60),
        ("60.0", 60),
        ("1.5", 1.5),
        ("-1", -1),
        ("1 minute", "1 minute"),
        ("", ""),
        ("9" * 400, math.inf),
    ],
)
def test_quoted_numbers_are_numbers(written: str, number: Any) -> None:
    """A quoted number is a number; the operator refuses other text by name."""
    quoted = {"timeout": written, "backoffLimit": written, "ttl_seconds_after_finished": written}
    expected = {"timeout": number, "backoff_limit": number, "ttl_seconds_after_finished": number}
    assert job_arguments(quoted) == expected


def test_a_quoted_spelling_agrees_with_a_number() -> None:
    """``"60"`` and 60 are the same value."""
    assert job_arguments({"timeout": "60", "activeDeadlineSeconds": 60}) == {"timeout": 60}


def test_env_that_is_no_text_is_json() -> None:
    """Numbers and truth values become JSON."""
    env = {"PORT": 5432, "DEBUG": True, "RATIO": 0.5, "HOSTS": ["a"], "NAME": "x"}
    as_text = {"PORT": "5432", "DEBUG": "true", "RATIO": "0.5", "HOSTS": '["a"]', "NAME": "x"}
    assert job_arguments({"env": env}) == {"env": as_text}


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"imgae": "x"}, "job has an unknown key 'imgae'; did you mean 'image'?"),
        (
            {"backoff_limit": 1, "backoffLimit": 2},
            "job has backoff_limit: 1 and backoffLimit: 2; keep one of them",
        ),
        ({"env": ["A=b"]}, "job.env must be a mapping, not list"),
        ({"install_dependencies": "numpy"}, "job.install_dependencies must be a list, not str"),
        (["image"], "job must be a mapping, not list"),
    ],
)
def test_a_mistake_is_named(job: Any, message: str) -> None:
    """The message has the key and the advice."""
    with pytest.raises(ValueError, match="job") as error:
        job_arguments(job)
    assert str(error.value) == message
