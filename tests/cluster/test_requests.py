"""What a successful task asks of the API server: each request is named here, and none may be added unseen."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from tests.cluster.tasks import run_task
from tests.faulty_api import FaultyApi

ALWAYS = {
    "POST selfsubjectaccessreviews": 1,  # may the Job be marked as read
    "POST jobs": 1,
    "POST configmaps": 1,
    "WATCH jobs": 1,
    "WATCH pods": 1,
    "GET pods/log follow": 1,
    "GET pods/log": 1,  # what the stream has not brought
    "PATCH jobs": 1,
}
WITH_VALUES = {"POST secrets": 1, "DELETE secrets": 1}
AT_TIMES = {
    "WATCH events": 1,  # the pod waits for some time
    "GET events": 1,  # the script ran for two seconds: has the kubelet stopped it
}
DEFERRED = {
    "GET jobs": 1,
    "GET pods": 1,  # all that the triggerer's watch shares
    "PATCH jobs": 1,  # how far the log was shown
    "GET pods/log": 1,  # the output, for the result
    "GET events": 1,
}


def kind_of(line: str) -> str:
    """The verb and the resource of a request."""
    method, _, path = line.partition(" ")
    found = re.search(r"/(?:namespaces/[^/]+/)?(pods(?=/[^/]+/log)|[a-z]+)(?:/[^/?]+)?(/log)?(?:\?(.*))?$", path)
    assert found, line
    resource, part, query = found[1], found[2] or "", found[3] or ""
    verb = "WATCH" if "watch=1" in query else method
    return f"{verb} {resource}{part}{' follow' if 'follow=true' in query else ''}"


@pytest.mark.parametrize("env", [None, {"TOKEN": "abcdefgh"}], ids=["without_env", "with_env"])
def test_a_success_asks_for_nothing_more(
    env: Any, waiting: dict[str, Any], api: FaultyApi, flaky: dict[str, Any]
) -> None:
    """In a worker and deferred, with a log that is followed (R31)."""
    run_task(script="import time; print('hi'); time.sleep(3)", env=env, **flaky, **waiting).succeeded()
    always = Counter(ALWAYS | (WITH_VALUES if env else {}))
    allowed = always + Counter(AT_TIMES) + Counter(DEFERRED if waiting else {})
    asked = Counter(map(kind_of, api.seen))
    assert asked - allowed == Counter()
    assert always.keys() - asked.keys() <= {"GET pods/log follow"}  # the script may have ended before
