"""What a successful task asks of the API server: each request is named here, and none may be added unseen."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.cluster.tasks import run_task
from tests.faulty_api import FaultyApi
from tests.requests_made import kind_of

ALWAYS = {
    "POST jobs": 1,
    "POST configmaps": 1,
    "WATCH pods": 1,
    "GET pods/log": 1,  # all of it, or what the stream has not brought
    "PATCH jobs": 1,
}
WITH_VALUES = {"POST secrets": 1, "DELETE secrets": 1}
AT_TIMES = {
    "WATCH jobs": 1,  # the script has not ended within five seconds
    "GET pods/log follow": 1,  # the script runs
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


@pytest.mark.parametrize("env", [None, {"TOKEN": "abcdefgh"}], ids=["without_env", "with_env"])
def test_a_success_asks_for_nothing_more(
    env: Any, waiting: dict[str, Any], api: FaultyApi, flaky: dict[str, Any]
) -> None:
    """In a worker and deferred: five requests without env, and those that a longer script needs (R31)."""
    run_task(script="import time; print('hi'); time.sleep(3)", env=env, **flaky, **waiting).succeeded()
    always = Counter(ALWAYS | (WITH_VALUES if env else {}))
    allowed = always + Counter(AT_TIMES) + Counter(DEFERRED if waiting else {})
    asked = Counter(map(kind_of, api.seen))
    assert asked - allowed == Counter()
    assert always.keys() <= asked.keys()
