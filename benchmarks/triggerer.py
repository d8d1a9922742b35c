"""A process that runs triggers in one event loop, as the triggerer does it, and measures itself meanwhile."""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import functools
import gc
import json
import os
import resource
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import greenback
from structlog.contextvars import bind_contextvars, get_contextvars

from benchmarks import fake_jobs
from benchmarks.contenders import log_as_a_task, own_airflow_home
from benchmarks.fake_jobs import FakeJob

OURS = "ScriptTrigger"
JOB_TRIGGER = "KubernetesJobTrigger"
POD_TRIGGER = "KubernetesPodTrigger"

OURS_WITH_LOG = "ScriptTrigger, with log"
RAW_FOLLOW = "raw follow"
WAITING = (OURS, POD_TRIGGER, JOB_TRIGGER)
"""The contenders that only wait."""

READY, GO = "ready", "go"
"""What the process says when it has loaded everything, and what it waits for then."""

FIRST_LINE, SILENCE = 20.0, 5.0
"""Seconds without a line after which a raw follow ends: before the first line, and after it."""
_TICK = 0.01
_IDLE = 3.0
"""Seconds for which the loop is measured with nothing to do but measuring."""


@dataclass(frozen=True)
class Measured:
    """What the process has seen: times in monotonic seconds, lateness in seconds, memory in bytes, by time of day."""

    began: float
    until: float
    cpu: float
    memory_before: int
    memory_peak: int
    memory_by_second: list[int]
    tls_sessions: int
    lateness: list[float]
    own_lateness: list[float]
    events: dict[str, float]
    payloads: dict[str, Any]


def contenders() -> dict[str, Callable[[FakeJob], Any]]:
    """How each contender's trigger is made for a Job; the one place where triggers are made."""
    return {
        OURS: functools.partial(_our_trigger, get_logs=False),
        POD_TRIGGER: _pod_trigger,
        JOB_TRIGGER: _job_trigger,
        OURS_WITH_LOG: functools.partial(_our_trigger, get_logs=True),
        RAW_FOLLOW: lambda job: RawFollow(job.namespace, job.pod_name),
    }


def _our_trigger(job: FakeJob, *, get_logs: bool) -> Any:
    """As ``KubernetesScriptOperator`` makes it when it defers at once."""
    from airflow_script_provider.kube.job.launched import JobRef, LaunchedJob
    from airflow_script_provider.triggers.script import ScriptTrigger

    request = replace(fake_jobs.request_of(job.namespace, job.launch_id), get_logs=get_logs)
    launched = LaunchedJob.of(request, JobRef(job.namespace, job.name, job.uid), time.time())
    return ScriptTrigger(job=launched.to_dict())


def _job_trigger(job: FakeJob) -> Any:
    """As ``KubernetesJobOperator`` makes it."""
    from airflow.providers.cncf.kubernetes.triggers.job import KubernetesJobTrigger

    return KubernetesJobTrigger(
        job_name=job.name,
        job_namespace=job.namespace,
        pod_names=[job.pod_name],
        pod_namespace=job.namespace,
        base_container_name="script",
        kubernetes_conn_id="kubernetes_default",
        get_logs=False,
    )


def _pod_trigger(job: FakeJob) -> Any:
    """As ``KubernetesPodOperator`` makes it."""
    from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger

    return KubernetesPodTrigger(
        pod_name=job.pod_name,
        pod_namespace=job.namespace,
        trigger_start_time=datetime.now(UTC),
        base_container_name="script",
        kubernetes_conn_id="kubernetes_default",
        connection_extras={},
        get_logs=False,
    )


@dataclass
class RawFollow:
    """Follows the log over a session that all share, and writes its lines: hardly anything could be done with less.

    It ends when no line has come for a while: it doesn't look at pods.
    """

    namespace: str
    pod_name: str

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """As triggers have it."""
        return "", asdict(self)

    async def run(self) -> AsyncIterator[Any]:
        """Until no more comes, after the first line has come."""
        url = f"/api/v1/namespaces/{self.namespace}/pods/{self.pod_name}/log?follow=true"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LINE) as patience, _session().get(url) as answer:
                rest = b""
                while chunk := await answer.content.readany():
                    patience.reschedule(asyncio.get_running_loop().time() + SILENCE)
                    *lines, rest = (rest + chunk).split(b"\n")
                    self._write(lines)
        yield SimpleNamespace(payload={"status": "success"})

    def _write(self, lines: Sequence[bytes]) -> None:
        """As Airflow's logger has it, as far as this benchmark reads it."""
        number, now = get_contextvars()["trigger_id"], datetime.now(UTC).isoformat()
        head = f'{{"trigger_id": {number}, "timestamp": "{now}", "event": "'.encode()
        _log_file().write(b"".join(head + line + b'"}\n' for line in lines))

    async def cleanup(self) -> None:
        """As triggers have it."""


@functools.cache
def _log_file() -> IO[bytes]:
    return open(_parsed_arguments().log, "ab", buffering=0)  # open until the process ends


@functools.cache
def _session() -> Any:
    import aiohttp
    import yaml

    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    server = config["clusters"][0]["cluster"]
    trust = ssl.create_default_context(cadata=base64.b64decode(server["certificate-authority-data"]).decode())
    return aiohttp.ClientSession(
        server["server"],
        headers={"Authorization": f"Bearer {config['users'][0]['user']['token']}"},
        connector=aiohttp.TCPConnector(ssl=trust, limit=0),
        timeout=aiohttp.ClientTimeout(),
    )


@dataclass
class Ticker:
    """Measures how late the event loop is: a timer is due every 10 ms, as long as it runs.

    ``own_lateness`` leaves out the time for which the process waited for a CPU that others used.
    """

    lateness: list[float] = field(default_factory=list)
    own_lateness: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    async def run(self) -> None:
        """For ever."""
        next_sample = time.monotonic()
        while True:
            due, waited = time.monotonic() + _TICK, _waited_for_cpu()
            await asyncio.sleep(_TICK)
            now = time.monotonic()
            late = max(0.0, now - due)
            self.lateness += _timers(late)
            self.own_lateness += _timers(max(0.0, late - _waited_for_cpu() + waited))
            if now > next_sample:
                self.memory.append(resident("VmRSS"))
                next_sample += 1

    def forget(self) -> None:
        """Start anew."""
        for measured in (self.lateness, self.own_lateness, self.memory):
            measured.clear()


def _timers(late: float) -> list[float]:
    """How late all timers were that would have been due while the loop was blocked."""
    return [late - passed * _TICK for passed in range(1 + int(late / _TICK))]


def _waited_for_cpu() -> float:
    """Seconds for which this thread could have run so far, but others did."""
    return int(os.pread(_schedule(), 100, 0).split()[1]) / 1e9


@functools.cache
def _schedule() -> int:
    return os.open("/proc/thread-self/schedstat", os.O_RDONLY)


@dataclass
class TlsSessions:
    """Counts the sessions that this process opens, by whatever library."""

    count: int = 0

    def begin(self) -> None:
        """Both doors of the ``ssl`` module lead through here from now on."""
        for name in ("wrap_bio", "wrap_socket"):
            setattr(ssl.SSLContext, name, self._counted(getattr(ssl.SSLContext, name)))

    def _counted(self, wrap: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            return wrap(*arguments, **named)

        return wrapped


@dataclass(frozen=True)
class Stored:
    """A trigger as it lies in Airflow's database, and the pod that it waits for."""

    kind: Callable[..., Any]
    arguments: str
    pod_name: str

    @classmethod
    def of(cls, make: Callable[[FakeJob], Any], job: FakeJob) -> Stored:
        """What deferring stores."""
        from airflow.models.trigger import Trigger

        trigger = make(job)
        return cls(type(trigger), Trigger.encrypt_kwargs(trigger.serialize()[1]), job.pod_name)

    def made(self) -> Any:
        """What ``TriggerRunner.create_triggers`` makes of it."""
        from airflow.models.trigger import Trigger
        from airflow.serialization.decoders import smart_decode_trigger_kwargs

        stored = Trigger._decrypt_kwargs(self.arguments)
        decoded = {name: smart_decode_trigger_kwargs(value) for name, value in stored.items()}  # type: ignore[no-untyped-call]  # Airflow's
        return self.kind(**decoded)


async def run_trigger(number: int, trigger: Any, on_event: Callable[[Any], None]) -> None:
    """What ``TriggerRunner.run_trigger`` does around a trigger."""
    await greenback.ensure_portal()
    bind_contextvars(trigger_id=number)
    try:
        async for event in trigger.run():
            on_event(event)
    finally:
        await trigger.cleanup()


async def measure(make: Callable[[FakeJob], Any], warm_up: FakeJob, jobs: Sequence[FakeJob]) -> Measured:
    """Run a trigger to its end, so that all is loaded; then, when told so, those of all Jobs at once."""
    sessions = TlsSessions()
    sessions.begin()
    await run_trigger(0, Stored.of(make, warm_up).made(), lambda _: None)
    ticker = Ticker()
    ticking = asyncio.create_task(ticker.run())
    idle = await _idle_cpu()
    print(READY, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    triggers = [Stored.of(make, job) for job in jobs]
    gc.collect()
    await asyncio.sleep(2 * _TICK)  # the tick that all this has held up is not of the triggers
    before, sessions.count = resident("VmRSS"), 0
    forget_peak()
    ticker.forget()
    began, used, start = time.time(), _cpu(), time.monotonic()
    events, payloads = await _run_all(triggers)
    spent = _cpu() - used - idle * (time.monotonic() - start)
    ticking.cancel()
    return Measured(
        began,
        time.time(),
        max(0.0, spent),
        before,
        resident("VmHWM"),
        ticker.memory,
        sessions.count,
        ticker.lateness,
        ticker.own_lateness,
        events,
        payloads,
    )


async def _idle_cpu() -> float:
    """CPU seconds that measuring takes in a second."""
    used = _cpu()
    await asyncio.sleep(_IDLE)
    return (_cpu() - used) / _IDLE


async def _run_all(triggers: Sequence[Stored]) -> tuple[dict[str, float], dict[str, Any]]:
    """When each trigger's event came, and of what status it is, by pod."""
    events: dict[str, float] = {}
    payloads: dict[str, Any] = {}

    def noting(pod_name: str) -> Callable[[Any], None]:
        def note(event: Any) -> None:
            events.setdefault(pod_name, time.monotonic())
            payloads[pod_name] = _status(event.payload)

        return note

    tasks = []
    for number, stored in enumerate(triggers, start=1):
        await asyncio.sleep(0)  # as TriggerRunner.create_triggers does, twice
        await asyncio.sleep(0)
        tasks.append(asyncio.create_task(run_trigger(number, stored.made(), noting(stored.pod_name))))
    failures = [result for result in await asyncio.gather(*tasks, return_exceptions=True) if result is not None]
    if failures:
        print(f"{len(failures)} triggers failed, the first with {failures[0]!r}", file=sys.stderr)
    return events, payloads


def _status(payload: Any) -> Any:
    return payload.get("status") if isinstance(payload, Mapping) else str(payload)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def resident(which: str) -> int:
    """Bytes of memory: ``VmRSS`` is now, ``VmHWM`` the most so far."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition(f"{which}:")[2].split()[0])


def forget_peak() -> None:
    """Let ``VmHWM`` start anew."""
    Path("/proc/self/clear_refs").write_text("5")


def _parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--contender", "--jobs", "--log", "--out"):
        parser.add_argument(name, required=True)
    return parser.parse_args()


def main() -> None:
    """Be the process of one contender: Jobs come from a file, the first of them has ended already."""
    asked = _parsed_arguments()
    with own_airflow_home():
        log_as_a_task(asked.log)
        warm_up, *jobs = fake_jobs.from_file(Path(asked.jobs))
        measured = asyncio.run(measure(contenders()[asked.contender], warm_up, jobs))
    Path(asked.out).write_text(json.dumps(asdict(measured)))


if __name__ == "__main__":
    main()
