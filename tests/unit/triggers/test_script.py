"""What a trigger fires."""

from __future__ import annotations

from typing import Any

from airflow.triggers.base import DiscrimatedTriggerEvent
from pydantic import TypeAdapter

from airflow_script_provider.triggers.script import JobEvent

PAYLOAD: dict[str, Any] = {
    "job": {"ref": {"namespace": "etl", "name": "script-load-7f3c", "uid": "1"}},
    "ended": {"pods": ["…"]},
}


def test_an_event_is_a_few_words_in_the_log() -> None:
    """Airflow writes it into the task's log, between the script's lines."""
    assert repr(JobEvent(PAYLOAD)) == "Job etl/script-load-7f3c"


def test_an_event_reaches_the_worker_whole() -> None:
    """The triggerer's two processes hand it on as JSON."""
    adapter: TypeAdapter[Any] = TypeAdapter(DiscrimatedTriggerEvent)
    assert adapter.validate_json(adapter.dump_json(JobEvent(PAYLOAD))).payload == PAYLOAD
