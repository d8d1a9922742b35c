"""The Kubernetes API as plain dicts: calls are repeated and bounded, and errors give advice."""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import aiohttp

from airflow_script_provider import __version__, exceptions
from airflow_script_provider._event_loop import raise_interruption_behind
from airflow_script_provider.api.answers import Answer, is_held
from airflow_script_provider.api.resources import Call
from airflow_script_provider.api.sessions import Session, Sessions
from airflow_script_provider.api.websocket import Upgrade
from airflow_script_provider.kube import refusal
from airflow_script_provider.kube.durations import retry_after
from airflow_script_provider.kube.listing import metadata_of
from airflow_script_provider.kube.wording import message_of, reported

T = TypeVar("T")

CALL_CONNECT_TIMEOUT = 10.0
"""Seconds for a connection to the API server."""
CALL_READ_TIMEOUT = 30.0
"""Seconds without a byte after which a call counts as unanswered."""
CALL_TIMEOUT = 300.0
"""Seconds for a whole answer, which may be a large list over a slow line."""
CALL_PATIENCE = 30.0
"""Seconds for which a call is repeated while the API server is overloaded, restarting or out of
reach."""
LONGEST_PAUSE = 5.0
"""Seconds between two tries of a call at the most."""
AFTER_CONFLICT = 0.5
"""The same after a conflict, for which the server need not recover: of hundreds of launches under
one quota, each needs many tries until it is its turn."""
REVIEW_TIMEOUT = 5.0
"""Seconds for the answer to a question about rights, or about the server's version."""

READ_BUFFER = 256 * 1024
"""Bytes of an answer that may wait to be read; of hundreds of log streams each has such a
buffer."""

_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)
"""Errors that come before a request is sent."""
_USER_AGENT = f"airflow-script-provider/{__version__}"


class KubernetesApi:
    """Calls on resources, named in the plural (``jobs``, ``pods``, ``pods/log``, ``events``).

    ``renew`` opens a session with credentials that were read again, for the time when the server
    refuses the old ones.
    """

    def __init__(self, session: Session, renew: Callable[[], Awaitable[Session]] | None = None) -> None:
        self._sessions = Sessions(session, renew)
        self._clock_ahead = 0.0

    @property
    def host(self) -> str:
        """Address of the API server."""
        return self._sessions.current.host

    def now(self) -> datetime:
        """The API server's time of day, to the second.

        It comes from the server's last answer; before the first answer it is this machine's.
        """
        return datetime.fromtimestamp(time.time() + self._clock_ahead, UTC)

    async def close(self) -> None:
        """End the session. Aborted sockets need a few rounds of the loop to close."""
        await self._sessions.close()
        for _ in range(5):
            await asyncio.sleep(0)

    async def create(self, resource: str, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object. Fields that the API does not know are an error."""
        return await self._call(Call("create", resource, namespace, body=body, query={"fieldValidation": "Strict"}))

    async def get(self, resource: str, namespace: str, name: str) -> dict[str, Any]:
        """Read an object."""
        return await self._call(Call("get", resource, namespace, name))

    async def list(self, resource: str, namespace: str | None, **query: str) -> dict[str, Any]:
        """List objects, with ``labelSelector`` or ``fieldSelector``."""
        return await self._call(Call("list", resource, namespace, query=query))

    async def pages(self, resource: str, namespace: str | None, size: int, **query: str) -> AsyncIterator[str]:
        """A list as text, in pages of so many objects: ``kube.listing`` takes them apart."""
        page = {"limit": str(size)}
        while True:
            text = await self._patient(Call("list", resource, namespace, query={**query, **page}), Answer.list_text)
            yield text
            if not (token := metadata_of(text).get("continue")):
                return
            page["continue"] = token

    async def patch(self, resource: str, namespace: str, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Merge these fields into an object; only if its uid is that of their ``metadata.uid``."""
        return await self._call(Call("patch", resource, namespace, name, body=body))

    async def can_i(self, verb: str, resource: str, namespace: str) -> bool:
        """Whether this account may; True where the server gives no answer."""
        group = Call(verb, resource).group
        asked = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
        kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        review = Call("create", "selfsubjectaccessreviews", body=kind | {"spec": {"resourceAttributes": asked}})
        try:
            async with asyncio.timeout(REVIEW_TIMEOUT):
                answer = (await self._once(review)).object()
        except (TimeoutError, exceptions.KubernetesApiError):
            return True
        return bool(answer.get("status", {}).get("allowed", True))

    async def version(self) -> str:
        """The server's version, as in ``v1.34.4``; empty where it gives no answer."""
        try:
            async with asyncio.timeout(REVIEW_TIMEOUT):
                answer = (await self._once(Call("get", "version"))).object()
        except (TimeoutError, exceptions.KubernetesApiError):
            return ""
        return str(answer.get("gitVersion", ""))

    async def delete(self, resource: str, namespace: str, name: str, *, uid: str | None = None) -> bool:
        """Delete an object, only if it has this uid; False if it is already gone.

        Kubernetes deletes its dependents in the background once it is gone. They do not wait for
        an object that another program's finalizer holds.
        """
        options = {} if uid is None else {"preconditions": {"uid": uid}}
        is_known = False
        try:
            for policy in ("Background", "Foreground"):
                body = {"propagationPolicy": policy, **options}
                answer = await self._call(Call("delete", resource, namespace, name, body=body))
                is_known = True
                if not is_held(answer):
                    break
        except exceptions.ApiNotFoundError:
            return is_known
        except exceptions.ApiConflictError as error:
            if not refusal.is_of_another_uid(error.server_message):
                raise
            return is_known
        return True

    @asynccontextmanager
    async def stream(self, call: Call, *, read_timeout: float) -> AsyncIterator[aiohttp.StreamReader]:
        """An open answer: a log or a watch.

        The call is not repeated on errors. Errors of reading reach the caller as they are.
        """
        response = await self._request(call, read_timeout)
        try:
            await _raise_for_status(response, call, self.host)
            if (answer := _answer_of(response, call, self.host)).is_page:
                raise answer.not_kubernetes()
            self._sessions.was_granted = True
            yield response.content
        finally:
            _abort(response)

    async def connect(
        self, resource: str, namespace: str, name: str, query: Sequence[tuple[str, str]], upgrade: Upgrade
    ) -> aiohttp.ClientWebSocketResponse:
        """An open websocket, which the caller closes.

        Only a refusal of credentials is doubted. Errors of reading reach the caller as they are.
        """
        call = Call("get", resource, namespace, name)
        return await patiently(lambda: self._upgraded(call, query, upgrade), CALL_PATIENCE, self.is_doubtful)

    async def _upgraded(
        self, call: Call, query: Sequence[tuple[str, str]], upgrade: Upgrade
    ) -> aiohttp.ClientWebSocketResponse:
        session = self._sessions.current
        try:
            socket = await upgrade.of(session, call.path, query, _headers(session))
            if socket is None and (renewed := await self._sessions.renewed(session)) is not None:
                socket = await upgrade.of(renewed, call.path, query, _headers(renewed))
        except aiohttp.WSServerHandshakeError as refused:
            raise await self._refusal(call, refused) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        if socket is None:
            message = refusal.message(call.verb, call.resource, call.namespace, 401, "Unauthorized")
            raise exceptions.ApiUnauthorizedError(message, status=401, server_message="Unauthorized")
        return socket

    async def _refusal(self, call: Call, refused: aiohttp.WSServerHandshakeError) -> exceptions.KubernetesApiError:
        """The error of a refused websocket.

        The client drops the server's message, so a plain request asks for it again.
        """
        if refused.status < 400:  # whatever answered, it knows no websockets
            content_type = refused.headers.get("Content-Type", "") if refused.headers else ""
            return Answer(call, self.host, refused.status, content_type.partition(";")[0]).not_kubernetes()
        try:
            (await self._once(call)).object()
        except exceptions.KubernetesApiError as error:
            if error.status == refused.status or isinstance(error, exceptions.NotKubernetesApiError):
                return error
        message = refusal.message(call.verb, call.resource, call.namespace, refused.status, reported(refused.message))
        return exceptions.KubernetesApiError(message, status=refused.status)

    async def _call(self, call: Call) -> dict[str, Any]:
        return await self._patient(call, Answer.object)

    async def _patient(self, call: Call, read: Callable[[Answer], T]) -> T:
        """One call, repeated while the server cannot answer: with our fixed names that is safe."""

        async def once() -> T:
            return read(await self._once(call))

        return await patiently(once, CALL_PATIENCE, self.may_pass)

    def may_pass(self, error: exceptions.KubernetesApiError) -> bool:
        """Whether the same call may succeed later, also after a refusal of credentials."""
        return is_transient(error) or self.is_doubtful(error)

    def is_doubtful(self, error: exceptions.KubernetesApiError) -> bool:
        """Whether credentials that the server refuses may be granted a little later.

        A server that has granted a call before may ask an authenticator that fails for a moment.
        """
        is_servers = isinstance(error, exceptions.ApiUnauthorizedError) and error.server_message != ""
        return is_servers and self._sessions.was_granted

    async def _once(self, call: Call) -> Answer:
        response = await self._request(call)
        try:
            await _raise_for_status(response, call, self.host)
            text = (await response.read()).decode(errors="replace")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unreachable(error) from error
        finally:
            response.release()
        self._set_clock(response.headers.get("Date", ""))
        answer = _answer_of(response, call, self.host, text)
        self._sessions.was_granted = self._sessions.was_granted or not answer.is_page
        return answer

    async def _request(self, call: Call, read_timeout: float | None = None) -> aiohttp.ClientResponse:
        """An answer, whatever its status; after a 401 the credentials are read once more."""
        session = self._sessions.current
        response = await self._send(session, call, read_timeout)
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
        return await self._send(renewed, call, read_timeout)

    async def _send(self, session: Session, call: Call, read_timeout: float | None) -> aiohttp.ClientResponse:
        kinds = [("Accept", "application/json, */*"), ("Content-Type", call.content_type)]
        content = call.content()
        timeout = aiohttp.ClientTimeout(
            total=CALL_TIMEOUT if read_timeout is None else None,
            connect=CALL_CONNECT_TIMEOUT,
            sock_connect=CALL_CONNECT_TIMEOUT,
            sock_read=CALL_READ_TIMEOUT if read_timeout is None else read_timeout,
        )
        with session.asking():
            try:
                response: aiohttp.ClientResponse = await session.http.request(
                    call.method,
                    self.host + call.path,
                    params=dict(call.query),
                    headers=[*kinds, *_headers(session)],
                    # As a stream, because aiohttp warns of large bodies that are bytes.
                    data=None if content is None else io.BytesIO(content),
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

    def _unreachable(self, error: BaseException) -> exceptions.ApiUnreachableError:
        raise_interruption_behind(error)
        what = cause_of(error)
        return exceptions.ApiUnreachableError(
            f"no answer from the API server {self.host}: {what}. Check the Kubernetes connection and the network.",
            status=0,
            may_have_acted=not isinstance(error, _NOT_SENT),
        )


def _headers(session: Session) -> list[tuple[str, str]]:
    """Who asks, and with which program."""
    return [("User-Agent", _USER_AGENT), *session.headers]


def cause_of(error: BaseException) -> str:
    """What kept a call from its answer, without the URL that some texts of the client quote.

    The URL of an exec has its command; that of a proxy may have a password.
    """
    match error:
        case aiohttp.ClientResponseError():
            return f"{error.status} {error.message}"
        case aiohttp.ConnectionTimeoutError():
            return "connection timed out"
        case aiohttp.InvalidURL():
            return "its URL is not valid"
        case _:
            return message_of(error)


def _abort(response: aiohttp.ClientResponse) -> None:
    """Drop a stream that may be endless, without waiting for the farewell of its TLS session."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


async def patiently(
    call: Callable[[], Awaitable[T]],
    patience: float,
    may_pass: Callable[[exceptions.KubernetesApiError], bool] | None = None,
) -> T:
    """The answer of a call, which is repeated for ``patience`` seconds while there is none.

    ``may_pass`` says after which errors it is repeated, by default after those that are transient.
    If the server asks for a longer pause than is left, there is one last try at the end. The last
    error also says whether an earlier attempt may have acted.
    """
    give_up, attempt, may_have_acted = time.monotonic() + patience, 0, False
    while True:
        try:
            return await call()
        except exceptions.KubernetesApiError as error:
            error.may_have_acted = may_have_acted = may_have_acted or error.may_have_acted
            longest = AFTER_CONFLICT if isinstance(error, exceptions.ApiConflictError) else LONGEST_PAUSE
            own, left = backoff(attempt, longest=longest), give_up - time.monotonic()
            pause = min(error.retry_after, max(own, left)) if error.retry_after else own
            if not (may_pass or is_transient)(error) or pause > left:
                raise
        attempt += 1
        await asyncio.sleep(pause)


def is_transient(error: exceptions.KubernetesApiError) -> bool:
    """Whether the same call may succeed a little later."""
    is_unanswered = isinstance(error, exceptions.ApiUnreachableError)
    return is_unanswered or refusal.is_passing(error.status, error.reason, error.server_message)


def backoff(attempt: int, *, longest: float = LONGEST_PAUSE) -> float:
    """Seconds to pause after the n-th failure in a row (0 is the first), with jitter."""
    # The jitter is not a secret.
    return float(min(longest, 0.2 * 2 ** min(attempt, 10)) * random.uniform(0.5, 1.0))  # noqa: S311


async def _raise_for_status(response: aiohttp.ClientResponse, call: Call, host: str) -> None:
    if response.status < 400:
        return
    try:
        text = await response.text(errors="replace")
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise_interruption_behind(error)
        text = ""
    raise _answer_of(response, call, host, text).refusal()


def _answer_of(response: aiohttp.ClientResponse, call: Call, host: str, text: str = "") -> Answer:
    after = retry_after(response.headers.get("Retry-After", ""), response.headers.get("Date", ""))
    return Answer(call, host, response.status, response.content_type, text, after)
