"""Which quota has no room for a pod."""

from __future__ import annotations

import pytest

from airflow_script_provider.kube.causes.quota import Shortage, shortage
from tests.builders import an_event

CREATING = 'Error creating: pods "load-x1" is forbidden: '


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (f"{CREATING}exceeded quota: compute, requested: requests.memory=1Gi, used: requests.memory=7680Mi, "
         "limited: requests.memory=8Gi",
         Shortage("compute", "requests.memory 7680Mi of 8Gi used, 1Gi asked")),
        (f"{CREATING}exceeded quota: q, requested: limits.cpu=500m,pods=1, used: limits.cpu=4,pods=10, "
         "limited: limits.cpu=4,pods=10",
         Shortage("q", "limits.cpu 4 of 4 used, 500m asked; pods 10 of 10 used, 1 asked")),
        (f"(combined from similar events): {CREATING}exceeded quota: q, requested: pods=1, used: pods=9, "
         "limited: pods=9",
         Shortage("q", "pods 9 of 9 used, 1 asked")),
        (f"{CREATING}exceeded quota: q", Shortage("q")),
        (f"{CREATING}exceeded quota: q, requested: pods=1", Shortage("q")),
        (f"{CREATING}exceeded quota: q, requested: pods=1, used: , limited: pods=1", Shortage("q")),
        (f"{CREATING}violates PodSecurity", None),
        ("", None),
    ],
)  # fmt: skip
def test_the_quota_and_its_figures(message: str, found: Shortage | None) -> None:
    """Without figures of a known form, the quota is named."""
    assert shortage(an_event("FailedCreate", message, kind="Job", name="load")) == found


def test_other_events_are_about_no_quota() -> None:
    """Only the Job controller creates the pods."""
    assert shortage(an_event("FailedMount", "exceeded quota: q")) is None
