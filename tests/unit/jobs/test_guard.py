"""What becomes of the Job of an interrupted run."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence

import pytest

from airflow_script_provider.jobs.context import JobContext
from airflow_script_provider.jobs.guard import JobGuard
from airflow_script_provider.kube.kill import EarlyEnd
from tests.builders import a_launched_job
from tests.servers import Answer
from tests.stand_in_api import a_refusal, api_of, requests, stand_in

JOB = "/apis/batch/v1/namespaces/etl/jobs/load"
AS_JSON = {"Content-Type": "application/json"}


class Silent:
    """A log that the test does not look at."""

    def note(self, text: str, level: int = logging.INFO) -> None:
        """A line of ours."""

    def output(self, lines: Sequence[str]) -> None:
        """Lines of the script."""


def a_found_job(uid: str = "job-uid", **metadata: str) -> Answer:
    """The Job ``etl/load`` as an answer."""
    found = {"kind": "Job", "metadata": {"name": "load", "uid": uid} | metadata}
    return Answer(json.dumps(found).encode(), headers=AS_JSON)


async def worker_is_ending(interruption: BaseException) -> EarlyEnd:
    """What a worker's SIGTERM means while the task has tries left."""
    return EarlyEnd("Its worker is ending", leaves_job=True)


@pytest.mark.parametrize(
    ("answer", "fate"),
    [
        (a_found_job(), "is left to the next try, which reattaches to it."),
        (a_refusal(403, "Forbidden"), "is left to the next try, which reattaches to it."),
        (a_refusal(404, "NotFound"), "is deleted."),
        (a_found_job("other-uid"), "is deleted."),
        (a_found_job(deletionTimestamp="2026-01-01T00:00:00Z"), "is deleted."),
    ],
    ids=["there", "unknown", "gone", "another Job", "being deleted"],
)
async def test_a_job_that_the_run_has_deleted_is_not_left_to_the_next_try(answer: Answer, fate: str) -> None:
    """The worker may end while it waits for the end of the pod, after its own delete (R6)."""
    with stand_in() as server:
        server.answers(JOB, answer)
        async with api_of(server) as api:
            guard = JobGuard(JobContext(api, a_launched_job(), Silent()), worker_is_ending)
            with pytest.raises(asyncio.CancelledError) as interruption:
                async with guard.protecting():
                    raise asyncio.CancelledError
        assert interruption.value.__notes__ == [f"Its worker is ending: Job etl/load {fate}"]
        is_gone = fate == "is deleted."
        assert requests(server, "DELETE") == is_gone
