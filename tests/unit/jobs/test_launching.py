"""Creating the objects of a run, on an API server that answers as it likes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from airflow_script_provider import exceptions
from airflow_script_provider.api import client as calls
from airflow_script_provider.jobs import launching
from airflow_script_provider.kube.job.launched import JobRef
from airflow_script_provider.kube.labels import LAUNCH_LABEL
from tests.builders import a_request
from tests.servers import WebServer, web_server
from tests.stand_in_api import CONFLICT, EXISTS, a_refusal, an_object, api_of, requests

REQUEST = a_request(env={"KEY": "value"})
NAMES = REQUEST.identity
CORE, BATCH = "/api/v1/namespaces/etl", "/apis/batch/v1/namespaces/etl"
JOBS, SECRETS, CONFIG_MAPS = f"{BATCH}/jobs", f"{CORE}/secrets", f"{CORE}/configmaps"
OURS = an_object(labels={LAUNCH_LABEL: NAMES.launch_id})
MADE = an_object(status=201)
REMOVED = an_object("Status")


@pytest.fixture
def server() -> Iterator[WebServer]:
    """An API server that grants everything."""
    with web_server() as server:
        for path in (JOBS, SECRETS, CONFIG_MAPS):
            server.answers(path, MADE)
        server.answers(f"{JOBS}/{NAMES.job_name}", OURS)
        server.answers(f"{CONFIG_MAPS}/{NAMES.config_map_name}", REMOVED)
        server.answers(f"{SECRETS}/{NAMES.secret_name}", REMOVED)
        yield server


@pytest.mark.parametrize("path", [JOBS, SECRETS, CONFIG_MAPS])
async def test_a_conflict_is_not_an_existing_object(server: WebServer, path: str) -> None:
    """After a conflict nothing exists, so the create is repeated until it is granted (R34)."""
    server.answers(path, a_refusal(409, *CONFLICT), a_refusal(409, *CONFLICT), MADE)
    async with api_of(server) as api:
        await launching.launch(api, REQUEST)
    assert requests(server, "POST", path) == 3
    assert requests(server, "DELETE") == 0


@pytest.mark.parametrize("path", [JOBS, SECRETS, CONFIG_MAPS])
async def test_conflicts_without_an_end(server: WebServer, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch never succeeds without one of its objects; the Job goes again (R6, R34)."""
    monkeypatch.setattr(calls, "CALL_PATIENCE", 0.0)
    server.answers(path, a_refusal(409, *CONFLICT))
    async with api_of(server) as api:
        with pytest.raises(exceptions.ApiConflictError, match="resourcequotas"):
            await launching.launch(api, REQUEST)
    assert requests(server, "DELETE", f"{JOBS}/") == (path != JOBS)


async def test_what_exists_is_made_again(server: WebServer) -> None:
    """A ConfigMap of a create whose answer was lost, and its successor's answer as well (R6)."""
    server.answers(CONFIG_MAPS, a_refusal(409, *EXISTS))
    async with api_of(server) as api:
        await launching.launch(api, REQUEST)
    assert [one.method for one in server.requests if one.path.startswith(CONFIG_MAPS)] == ["POST", "DELETE", "POST"]


async def test_what_does_not_go_away_is_not_ours(server: WebServer) -> None:
    """A finalizer keeps an old ConfigMap: the pod must not wait for one that is never made (R6)."""
    server.answers(
        CONFIG_MAPS, a_refusal(409, "AlreadyExists", 'object is being deleted: configmaps "x" already exists')
    )
    async with api_of(server) as api:
        with pytest.raises(exceptions.ApiAlreadyExistsError, match="is being deleted"):
            await launching.launch(api, REQUEST)
    assert requests(server, "DELETE", f"{JOBS}/") == 1


async def test_a_job_of_the_name_that_is_not_ours(server: WebServer) -> None:
    """It is not taken for ours, and not deleted (R6)."""
    server.answers(JOBS, a_refusal(409, *EXISTS))
    server.answers(f"{JOBS}/{NAMES.job_name}", an_object(labels={LAUNCH_LABEL: "another"}))
    async with api_of(server) as api:
        with pytest.raises(exceptions.LaunchError, match="exists that is not ours"):
            await launching.launch(api, REQUEST)
    assert requests(server, "DELETE") == 0


async def test_a_delete_that_conflicts_is_repeated(server: WebServer) -> None:
    """A Job counts as gone where it has another uid, not where another writer was faster (R34)."""
    ref = JobRef("etl", NAMES.job_name, "uid-1")
    uid = "the UID in the precondition (1) does not match the UID in record (2)"
    server.answers(f"{JOBS}/{NAMES.job_name}", a_refusal(409, *CONFLICT), REMOVED, a_refusal(409, "Conflict", uid))
    async with api_of(server) as api:
        assert await launching.delete(api, ref)
        assert not await launching.delete(api, ref)
    assert requests(server, "DELETE") == 3
