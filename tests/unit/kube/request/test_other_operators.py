"""Arguments of other operators, answered with ours."""

from __future__ import annotations

import pytest

from airflow_script_provider.kube.request.other_operators import refuse_unknown

OURS = ("env", "env_from", "timeout", "pod_overrides")


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("env_vars", "'env_vars' is an argument of the pod or job operator; use 'env' instead"),
        ("hostnetwork", "'hostnetwork' is an argument of the pod or job operator; set it in 'pod_overrides' instead"),
        (
            "poll_interval",
            "'poll_interval' is an argument of the pod or job operator; leave it out: the Job is watched, not polled",
        ),
        ("timout", "unknown argument 'timout'; did you mean 'timeout'?"),
        ("xyz", "unknown argument 'xyz'"),
    ],
)
def test_what_is_not_ours_is_answered(name: str, answer: str) -> None:
    """With our name for it, else with the nearest, else with itself (R29)."""
    with pytest.raises(TypeError) as refusal:
        refuse_unknown(["env", name], OURS)
    assert str(refusal.value) == answer


def test_ours_are_taken() -> None:
    """Nothing is said about what is known."""
    refuse_unknown(OURS, OURS)
