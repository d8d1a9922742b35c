"""The Kubernetes API as plain dicts over one asynchronous session: retried, bounded, with errors that advise."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import aiohttp

from airflow_script_provider import __version__, exceptions
from airflow_script_provider.api.sessions import Session, Sessions
from airflow_script_provider.api.websocket import Upgrade
from airflow_script_provider.kube import refusal
from airflow_script_provider.kube.listing import metadata_of

T = TypeVar("T")

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 30.0
PATIENCE = 30.0
"""Seconds for which a call is repeated while the API server is overloaded, restarting or out of reach."""
REVIEW_TIMEOUT = 5.0
"""Seconds for the answer to a question about rights."""

READ_BUFFER = 256 * 1024
"""Bytes of an answer that may wait to be read; of hundreds of log streams each has such a buffer."""

_USER_AGENT = f"airflow-script-provider/{__version__}"
_GROUPS = {
    "jobs": "/apis/batch/v1",
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "statefulsets": "/apis/apps/v1",
    "selfsubjectaccessreviews": "/apis/authorization.k8s.io/v1",
}
_TRANSIENT = frozenset({429, 500, 502, 503, 504})
_ERRORS: Mapping[int, type[exceptions.KubernetesApiError]] = {
    401: exceptions.ApiUnauthorizedError,
    403: exceptions.ApiForbiddenError,
    404: exceptions.ApiNotFoundError,
    409: exceptions.ApiConflictError,
    410: exceptions.ApiGoneError,
}


class KubernetesApi:
    """Calls on namespaced resources, named in the plural (``jobs``, ``pods``, ``pods/log``, ``events``).

    ``renew`` opens a session with credentials that were read anew, for when the server has had enough of the old ones.
    """

    def __init__(self, session: Session, renew: Callable[[], Awaitable[Session]] | None = None) -> None:
        self._sessions = Sessions(session, renew)

    @property
    def host(self) -> str:
        """Address of the API server."""
        return self._sessions.current.host

    _clock_ahead = 0.0

    def now(self) -> datetime:
        """The API server's time of day to the second, as its last answer has it; this machine's before the first."""
        return datetime.fromtimestamp(time.time() + self._clock_ahead, UTC)

    async def close(self) -> None:
        """End the session, and let the sockets close that were aborted: that takes the loop a few rounds."""
        await self._sessions.close()
        for _ in range(5):
            await asyncio.sleep(0)

    async def create(self, resource: str, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object. Fields that the API does not know are an error."""
        return await self._call("create", resource, namespace, body=body, query={"fieldValidation": "Strict"})

    async def get(self, resource: str, namespace: str, name: str) -> dict[str, Any]:
        """Read an object."""
        return await self._call("get", resource, namespace, name)

    async def list(self, resource: str, namespace: str | None, **query: str) -> dict[str, Any]:
        """List objects, with ``labelSelector`` or ``fieldSelector``."""
        return await self._call("list", resource, namespace, query=query)

    async def pages(self, resource: str, namespace: str | None, size: int, **query: str) -> AsyncIterator[str]:
        """A list as text, in pages of so many objects: ``kube.listing`` takes them apart."""
        page = {"limit": str(size)}
        while True:
            text = (await self._answer("list", resource, namespace, query={**query, **page})).decode()
            yield text
            if not (token := metadata_of(text).get("continue")):
                return
            page["continue"] = token

    async def patch(self, resource: str, namespace: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Merge these fields into an object, only if it has the uid of ``metadata.uid`` in them."""
        return await self._call("patch", resource, namespace, name, body=body)

    async def can_i(self, verb: str, resource: str, namespace: str) -> bool:
        """Whether this account may; True where the server does not say."""
        group = path(resource, None).split("/")[2] if resource in _GROUPS else ""
        asked = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
        kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        body = kind | {"spec": {"resourceAttributes": asked}}
        try:
            async with asyncio.timeout(REVIEW_TIMEOUT):
                answer = json.loads(await self._once("create", "selfsubjectaccessreviews", None, "", body, None))
        except (TimeoutError, exceptions.KubernetesApiError):
            return True
        return bool(answer.get("status", {}).get("allowed", True))

    async def delete(
        self, resource: str, namespace: str, name: str, *, uid: str | None = None, grace_period: int | None = None
    ) -> bool:
        """Delete an object, only if it has this uid, its dependents in the background; False if it is gone already."""
        options: dict[str, Any] = {"propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_period is not None:
            options["gracePeriodSeconds"] = grace_period
        try:
            await self._call("delete", resource, namespace, name, body=options)
        except (exceptions.ApiNotFoundError, exceptions.ApiConflictError):
            return False
        return True

    @asynccontextmanager
    async def stream(
        self,
        verb: str,
        resource: str,
        namespace: str,
        name: str = "",
        *,
        read_timeout: float,
        query: Mapping[str, str],
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """An open answer, a log or a watch; not repeated on errors, and those of reading are the caller's."""
        response = await self._request(verb, resource, namespace, name, query=query, read_timeout=read_timeout)
        try:
            await _raise_for_status(response, verb, resource, namespace)
            yield response.content
        finally:
            _abort(response)

    async def connect(
        self, resource: str, namespace: str, name: str, query: Sequence[tuple[str, str]], upgrade: Upgrade
    ) -> aiohttp.ClientWebSocketResponse:
        """An open websocket, which the caller closes; not repeated on errors, and those of reading are the caller's."""
        session, where = self._sessions.current, path(resource, namespace, name)
        try:
            socket = await upgrade.of(session, where, query, await self._headers(session))
            if socket is None and (renewed := await self._sessions.renewed(session)) is not None:
                socket = await upgrade.of(renewed, where, query, await self._headers(renewed))
        except aiohttp.WSServerHandshakeError as refused:
            raise await self._words_of(refused, resource, namespace, name) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        if socket is None:
            raise exceptions.ApiUnauthorizedError(refusal.message("get", resource, namespace, 401, "Unauthorized"))
        return socket

    async def _words_of(
        self, refused: aiohttp.WSServerHandshakeError, resource: str, namespace: str, name: str
    ) -> exceptions.KubernetesApiError:
        """What the server says of a refused websocket: the client drops its words, so they are asked for once more."""
        try:
            await self._once("get", resource, namespace, name, None, None)
        except exceptions.KubernetesApiError as error:
            if error.status == refused.status:
                return error
        words = refusal.message("get", resource, namespace, refused.status, refused.message)
        return exceptions.KubernetesApiError(words, status=refused.status)

    async def _call(
        self,
        verb: str,
        resource: str,
        namespace: str | None,
        name: str = "",
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        raw = await self._answer(verb, resource, namespace, name, body=body, query=query)
        try:
            answer: dict[str, Any] = json.loads(raw)
        except ValueError as error:  # a proxy's page in the server's place
            raise self._unreachable(error) from error
        return answer

    async def _answer(
        self,
        verb: str,
        resource: str,
        namespace: str | None,
        name: str = "",
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> bytes:
        """One call, repeated while the server cannot answer; all of ours may be, because names are fixed."""
        return await patiently(lambda: self._once(verb, resource, namespace, name, body, query), PATIENCE)

    async def _once(
        self,
        verb: str,
        resource: str,
        namespace: str | None,
        name: str,
        body: Mapping[str, Any] | None,
        query: Mapping[str, str] | None,
    ) -> bytes:
        response = await self._request(verb, resource, namespace, name, body=body, query=query or {})
        try:
            await _raise_for_status(response, verb, resource, namespace)
            raw = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        finally:
            response.release()
        self._set_clock(response.headers.get("Date", ""))
        return raw

    async def _request(
        self,
        verb: str,
        resource: str,
        namespace: str | None,
        name: str,
        *,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        read_timeout: float = READ_TIMEOUT,
    ) -> aiohttp.ClientResponse:
        """An answer, whatever its status; after a 401 the credentials are read once more."""
        session = self._sessions.current
        response = await self._send(session, verb, resource, namespace, name, query, body, read_timeout)
        if response.status != 401:
            return response
        try:
            renewed = await self._sessions.renewed(session)
        except BaseException:
            response.release()
            raise
        if renewed is None:
            return response
        response.release()
        return await self._send(renewed, verb, resource, namespace, name, query, body, read_timeout)

    async def _send(
        self,
        session: Session,
        verb: str,
        resource: str,
        namespace: str | None,
        name: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None,
        read_timeout: float,
    ) -> aiohttp.ClientResponse:
        content_type = "application/merge-patch+json" if verb == "patch" else "application/json"
        headers = {"Accept": "application/json, */*", "Content-Type": content_type}
        timeout = aiohttp.ClientTimeout(connect=CONNECT_TIMEOUT, sock_connect=CONNECT_TIMEOUT, sock_read=read_timeout)
        with session.asking():
            headers |= await self._headers(session)
            try:
                response: aiohttp.ClientResponse = await session.http.request(
                    _METHODS[verb],
                    self.host + path(resource, namespace, name),
                    params=dict(query),
                    headers=headers,
                    data=_encoded(body) if body is not None else None,
                    timeout=timeout,
                    read_bufsize=READ_BUFFER,
                    **session.route,
                )
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise self._unreachable(error) from error
            session.answers.add(response)
        return response

    def _set_clock(self, date: str) -> None:
        with contextlib.suppress(ValueError):
            self._clock_ahead = parsedate_to_datetime(date).timestamp() - time.time()

    async def _headers(self, session: Session) -> dict[str, str]:
        """Who we are, and the credentials, which a plugin or a file may have to bring."""
        try:
            authorization = await session.authorization()
        except Exception as error:  # third-party plugins; the call may be repeated
            what = str(error) or type(error).__name__
            message = f"no credentials for the API server {self.host}: {what}. Check the Kubernetes connection."
            raise exceptions.ApiUnreachableError(message, status=0) from error
        return {"User-Agent": _USER_AGENT} | ({"Authorization": authorization} if authorization else {})

    def _unreachable(self, error: BaseException) -> exceptions.ApiUnreachableError:
        what = str(error) or type(error).__name__
        if isinstance(error, aiohttp.ClientResponseError):  # would quote the proxy's URL, with its password
            what = f"{error.status} {error.message}"
        return exceptions.ApiUnreachableError(
            f"no answer from the API server {self.host}: {what}. Check the Kubernetes connection and the network.",
            status=0,
        )


_METHODS = {"create": "POST", "get": "GET", "list": "GET", "watch": "GET", "patch": "PATCH", "delete": "DELETE"}


def path(resource: str, namespace: str | None, name: str = "") -> str:
    """The URL path of a resource or of an object; ``pods/log`` is a pod's subresource."""
    kind, _, sub = resource.partition("/")
    parts = [_GROUPS.get(kind, "/api/v1")]
    parts += [f"namespaces/{namespace}"] if namespace else []
    parts += [part for part in (kind, name, sub) if part]
    return "/".join(parts)


def _abort(response: aiohttp.ClientResponse) -> None:
    """Drop a stream that may be endless, without waiting for the farewell of its TLS session."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


def _encoded(body: Mapping[str, Any]) -> io.BytesIO:
    """The body as JSON; as a stream, because aiohttp warns of large bodies that are bytes."""
    return io.BytesIO(json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass"))


async def patiently(call: Callable[[], Awaitable[T]], patience: float) -> T:
    """The answer of a call, which is repeated for so many seconds while the server cannot give one."""
    give_up = time.monotonic() + patience
    for attempt in itertools.count():
        try:
            return await call()
        except exceptions.KubernetesApiError as error:
            pause = error.retry_after or backoff(attempt)
            if not is_transient(error) or time.monotonic() + pause > give_up:
                raise
        await asyncio.sleep(pause)
    raise AssertionError("unreachable: patience ends")


def is_transient(error: exceptions.KubernetesApiError) -> bool:
    """Whether the same call may succeed a little later."""
    return isinstance(error, exceptions.ApiUnreachableError) or error.status in _TRANSIENT


def backoff(attempt: int, *, longest: float = 5.0) -> float:
    """Seconds to pause after the n-th failure in a row (0 is the first), with jitter."""
    return float(min(longest, 0.2 * 2 ** min(attempt, 10)) * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, no secret


async def _raise_for_status(response: aiohttp.ClientResponse, verb: str, resource: str, namespace: str | None) -> None:
    if response.status < 400:
        return
    try:
        raw = await response.text(errors="replace")
    except (aiohttp.ClientError, OSError, TimeoutError):
        raw = ""
    raise _api_error(response, raw, verb, resource, namespace)


def _api_error(
    response: aiohttp.ClientResponse, raw: str, verb: str, resource: str, namespace: str | None
) -> exceptions.KubernetesApiError:
    try:
        answer = json.loads(raw)
        said, reason = str(answer.get("message") or raw), str(answer.get("reason") or "")
    except (ValueError, AttributeError):
        said, reason = raw[:200] or str(response.reason), ""
    after = response.headers.get("Retry-After", "")
    return _ERRORS.get(response.status, exceptions.KubernetesApiError)(
        refusal.message(verb, resource, namespace, response.status, said),
        status=response.status,
        reason=reason,
        server_message=said,
        retry_after=float(after) if after.isdigit() else None,
    )
