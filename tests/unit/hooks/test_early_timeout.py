"""``execution_timeout`` before a Job is followed, or before its known outcome is handed over."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_script_provider._airflow import AirflowTaskTimeout
from airflow_script_provider.clusters.access import ClusterAccess, ClusterRef
from airflow_script_provider.exceptions import ApiUnreachableError
from airflow_script_provider.hooks import script
from airflow_script_provider.hooks.node import NodesTaskRun, node_arguments
from airflow_script_provider.hooks.script import ScriptTaskRun
from airflow_script_provider.jobs.context import Known
from airflow_script_provider.jobs.nodes.task import NodesTask
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.names import TaskIdentity
from tests.builders import a_launched_job, a_node, a_task
from tests.servers import Answer, Request, WebServer
from tests.stand_in_api import access_to, requests, stand_in
from tests.task_runs import a_nodes_run, a_script_run, inputs_and_options

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
ARGUMENTS = {"script": "print(1)", "namespace": "etl"}


def of_a_script(on_launch: Callable[[JobRef], None]) -> Any:
    """The outcome of a script, in a task with tries left."""
    run = a_script_run()
    run.on_launch = on_launch
    return run.outcome(*inputs_and_options(**ARGUMENTS), task=a_task(), alone=True)


def of_nodes(on_launch: Callable[[JobRef], None]) -> Any:
    """The outcome of a script on nodes, in a task with tries left."""
    run = a_nodes_run()
    run.on_launch = on_launch
    return run.outcome(node_arguments(**ARGUMENTS, node_selector={"pool": "a"}), task=a_task(), alone=True)


JSON = {"Content-Type": "application/json"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WebServer]:
    """A server with one node that takes what is created."""
    with stand_in() as server:
        a_list = {"items": [a_node(pool="a")], "metadata": {"resourceVersion": "1"}}
        server.answers("/api/v1/nodes", Answer(json.dumps(a_list).encode(), headers=JSON))
        server.answers(REVIEWS, Answer(b'{"status": {"allowed": true}}', 201, JSON))
        written_down = server.answer_to

        def answer_to(request: Request) -> Answer:
            if request.method != "POST" or request.path.startswith(REVIEWS):
                return written_down(request)
            body = json.loads(request.body)
            body["metadata"] |= {"uid": "uid-1", "resourceVersion": "1"}
            created = Answer(json.dumps(body).encode(), 201, JSON)
            server.answers(f"{request.path.partition('?')[0]}/{body['metadata']['name']}", created)
            return created

        monkeypatch.setattr(server, "answer_to", answer_to)
        monkeypatch.setattr(ClusterRef, "resolve", lambda _: access_to(server))
        yield server


@pytest.mark.parametrize("outcome_of", [of_a_script, of_nodes])
def test_a_job_is_looked_at_also_if_time_is_over_before_it_is_followed(
    outcome_of: Callable[..., Any], server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its script may have succeeded meanwhile: it would be deleted unseen, and run again (R1, R2, R5)."""
    found, seen = object(), list[JobRef]()

    async def of_one(context: Any, *_: Any, **__: Any) -> object:
        seen.append(context.job.ref)
        return found

    async def of_many(_: NodesTask, job: Any, *__: Any) -> object:
        seen.append(job.ref)
        return found

    def push_the_link(ref: JobRef) -> None:
        seen.append(ref)
        raise AirflowTaskTimeout("Timeout, PID: 1")

    monkeypatch.setattr(script, "after_timeout", of_one)
    monkeypatch.setattr(NodesTask, "after_timeout", of_many)
    assert outcome_of(push_the_link) is found
    assert requests(server, "DELETE") == 0
    assert len(seen) == 2
    assert seen[0] == seen[1]


@pytest.mark.parametrize("a_run", [a_script_run, a_nodes_run])
@pytest.mark.parametrize("task", [a_task(), a_task(try_number=3)], ids=["tries left", "last try"])
def test_a_known_outcome_is_handed_over_also_without_another_session(
    a_run: Callable[[], ScriptTaskRun | NodesTaskRun], task: TaskIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was lost in the last try, though the cluster was not needed any more; its Job goes (R1, R2, R5)."""
    run, outcome, handed_over, ended = a_run(), object(), list[Any](), list[JobRef]()

    def in_a_session(*_: Any) -> None:
        if run._launched.job is not None:
            raise ApiUnreachableError("no credentials for a Kubernetes cluster", status=0)
        run._launched.job, run._launched.known = a_launched_job(), Known(outcome)
        raise AirflowTaskTimeout

    monkeypatch.setattr(run, "run", in_a_session)
    monkeypatch.setattr(run, "delete", ended.append)
    access, unused = ClusterAccess(config={}), lambda *_: pytest.fail("there is no session")
    assert run.outlasting_timeout(access, unused, unused, task, handed_over.append) is outcome
    assert (handed_over, ended) == ([outcome], [a_launched_job().ref])


def test_code_gets_no_outcome_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its task has no time for what it does besides: the outcome stays on the Job (R2, R5)."""
    run = a_script_run()

    def in_a_session(*_: Any) -> None:
        if run._launched.job is not None:
            raise ApiUnreachableError("no credentials for a Kubernetes cluster", status=0)
        run._launched.job, run._launched.known = a_launched_job(), Known(object())
        raise AirflowTaskTimeout

    monkeypatch.setattr(run, "run", in_a_session)
    monkeypatch.setattr(run, "delete", lambda _: pytest.fail("the next try needs the Job"))
    access, unused = ClusterAccess(config={}), lambda *_: pytest.fail("there is no session")
    with pytest.raises(AirflowTaskTimeout):
        run.outlasting_timeout(access, unused, unused, a_task(), None)
