"""An API server on which a recorded run happens again: ``recorded_runs.json``, of Kubernetes 1.34 and these scripts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers import Answer, Request, WebServer
from tests.stand_in_api import NOT_FOUND, a_refusal

SCRIPT = """
import json, os, time
for number in range(30):
    print("n", number, flush=True)
    time.sleep(0.02)
print(json.dumps({"a": os.environ["A"]}))
"""
FAILING_SCRIPT = f"{SCRIPT}raise SystemExit(7)\n"
LINES = [*(f"n {number}" for number in range(30)), '{"a": "b"}']
"""What each attempt of both scripts prints with A=b."""
PODS_OF_FAILURE = 2

_STEP = 0.02
_TICK = 0.005
_UID = "5e0f6a8e-0000-4000-8000-000000000001"
_NOT_STARTED = a_refusal(400, "BadRequest", 'container "script" in pod "x" is waiting to start: ContainerCreating')
_RUNS = json.loads((Path(__file__).parent / "recorded_runs.json").read_text())

Object = Mapping[str, Any]


class RecordedApi(WebServer):
    """It grants every create. A created Job goes through the recorded steps, each a moment after the one before.

    ``objects`` are what was created and not deleted, by path; ``granted`` are the paths of all creates that
    made something.
    """

    def __init__(self, run: str) -> None:
        super().__init__()
        self.objects: dict[str, Object] = {}
        self.granted: list[str] = []
        self.is_over = False
        self._steps: list[Object] = _RUNS[run]["steps"]
        self._logs: dict[str, list[str]] = _RUNS[run]["logs"]
        self._job: Object = {}
        self._since = 0.0

    def answer_to(self, request: Request) -> Answer:
        """What an API server of this moment answers."""
        url = urlsplit(request.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = json.loads(request.body or b"{}")
        if request.method == "POST":
            return self._create(url.path, body)
        if request.method == "DELETE":
            return _as_json(self.objects.pop(url.path)) if url.path in self.objects else NOT_FOUND
        if url.path.endswith("/log"):
            return self._log(url.path.split("/")[-2], query)
        resource = url.path.rpartition("/")[2]
        if resource in ("jobs", "pods", "events"):
            return self._watch(resource, query) if "watch" in query else self._list(resource)
        if url.path not in self.objects:
            return NOT_FOUND
        return _as_json(self._job_at(self._now()) if "/jobs/" in url.path else self.objects[url.path])

    def _create(self, path: str, body: Object) -> Answer:
        if path.endswith("selfsubjectaccessreviews"):
            return _as_json({**body, "status": {"allowed": True}}, 201)
        name = f"{path}/{body['metadata']['name']}"
        if name in self.objects:
            return a_refusal(409, "AlreadyExists", "it already exists")
        self.granted.append(path)
        self.objects[name] = body
        if path.endswith("/jobs"):
            self._job, self._since = body, time.monotonic()
            return _as_json(self._job_at(0), 201)
        return _as_json(body, 201)

    def _now(self) -> int:
        """The number of steps that were taken."""
        return min(len(self._steps), 1 + int((time.monotonic() - self._since) / _STEP)) if self._job else 0

    def _job_at(self, now: int) -> Object:
        states = [step["object"]["status"] for step in self._steps[:now] if step["resource"] == "jobs"]
        metadata = {**self._job["metadata"], "uid": _UID, "resourceVersion": str(now)}
        return {**self._job, "metadata": metadata, "status": states[-1] if states else {}}

    def _pod(self, recorded: Object) -> Object:
        template = self._job["spec"]["template"]["metadata"]
        owner = {"kind": "Job", "name": self._job["metadata"]["name"], "uid": _UID, "controller": True}
        labels = {**template.get("labels", {}), "batch.kubernetes.io/controller-uid": _UID}
        metadata = {**recorded["metadata"], "namespace": "etl", "labels": labels, "ownerReferences": [owner]}
        return {**recorded, "metadata": metadata}

    def _changes(self, resource: str, start: int, end: int) -> Iterator[tuple[str, Object]]:
        """What each of these steps changed of a resource."""
        for number in range(start, end):
            step = self._steps[number]
            if step["resource"] == resource:
                changed = self._job_at(number + 1) if resource == "jobs" else self._pod(step["object"])
                version = {"resourceVersion": str(number + 1)}
                yield step["type"], {**changed, "metadata": {**changed["metadata"], **version}}

    def _existing(self, resource: str, now: int) -> list[Object]:
        return list({one["metadata"]["name"]: one for _, one in self._changes(resource, 0, now)}.values())

    def _list(self, resource: str) -> Answer:
        now = self._now()
        listed = {"kind": "List", "metadata": {"resourceVersion": str(now)}}
        return _as_json({**listed, "items": self._existing(resource, now)})

    def _watch(self, resource: str, query: Mapping[str, str]) -> Answer:
        def changes() -> Iterator[bytes]:
            seen = int(query.get("resourceVersion") or 0)
            if not seen:
                seen = self._now()
                yield from (_line("ADDED", one) for one in self._existing(resource, seen))
            while not self.is_over:
                now = self._now()
                yield from (_line(kind, one) for kind, one in self._changes(resource, seen, now))
                seen = max(seen, now)
                time.sleep(_TICK)

        return Answer(changes(), headers={"Content-Type": "application/json"})

    def _log(self, pod: str, query: Mapping[str, str]) -> Answer:
        begin, end = (self._step_of(pod, word) for word in ("running", "terminated"))
        if self._now() <= begin:
            return _NOT_STARTED
        lines = self._logs[pod]
        since = query.get("sinceTime", "").rstrip("Z")

        def printed() -> Iterator[bytes]:
            for number, line in enumerate(lines):
                at = begin + (end - begin) * number / len(lines)
                while "follow" in query and self._now() <= at and not self.is_over:
                    time.sleep(_TICK)
                if self._now() > at and line >= since:
                    yield f"{line}\n".encode()

        return Answer(printed(), headers={"Content-Type": "text/plain"})

    def _step_of(self, pod: str, word: str) -> int:
        """The step with which the pod's script was so."""

        def is_so(step: Object) -> bool:
            if step["resource"] != "pods" or step["object"]["metadata"]["name"] != pod:
                return False
            return any(word in status["state"] for status in step["object"]["status"].get("containerStatuses", ()))

        return next(number for number, step in enumerate(self._steps) if is_so(step))


def _as_json(body: Object, status: int = 200) -> Answer:
    return Answer(json.dumps(body).encode(), status, {"Content-Type": "application/json"})


def _line(kind: str, changed: Object) -> bytes:
    return json.dumps({"type": kind, "object": changed}).encode() + b"\n"
