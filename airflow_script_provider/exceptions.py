"""Everything that this provider raises on purpose.

::

    ScriptProviderError
    ├── ConnectionFieldError           a field of the connection is not valid
    ├── ScriptSourceError              the script could not be read
    ├── KubernetesApiError             the API server refused a call, or did not answer
    │   ├── ApiUnreachableError        no answer: network, TLS, proxy
    │   │   └── NotKubernetesApiError  an answer, but not of a Kubernetes API
    │   ├── ApiUnauthorizedError       401
    │   ├── ApiForbiddenError          403, names the missing right
    │   ├── ApiNotFoundError           404
    │   ├── ApiAlreadyExistsError      409 AlreadyExists
    │   ├── ApiConflictError           409 for another reason
    │   └── ApiGoneError               410, the position of a watch is too old
    ├── LaunchError                    the Job's objects could not be created
    ├── TargetError                    no running pod or container to run in
    └── RunError                       the run began and did not succeed
        ├── ScriptFailedError          the script failed; has the result
        │   ├── JobTimeoutError        its deadline ended it
        │   └── OutcomeUnknownError    how it ended cannot be found out any more
        ├── NodesFailedError           the script failed on some nodes; has the result
        └── RunKilledError             Airflow or a user ended the run

Misuse of an argument is a plain ``ValueError`` or ``TypeError`` that names the argument.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from airflow_script_provider.result import Category, ScriptResult


class ScriptProviderError(Exception):
    """Root of the tree. ``retryable`` says whether another try of the task can help."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = retryable

    def __str__(self) -> str:
        return self.message

    def with_message(self, message: str) -> Self:
        """A copy of the error that keeps all facts and has another message."""
        changed = copy.copy(self)
        changed.message, changed.args = message, (message,)
        return changed


class ConnectionFieldError(ScriptProviderError, ValueError):
    """A field of the connection to a cluster is not valid, or two of them exclude each other.

    Another try would read the same fields.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message, retryable=retryable)


class ScriptSourceError(ScriptProviderError):
    """The script could not be read.

    ``origin`` names the place that it should have come from. ``retry_after`` is the number of
    seconds after which the server wants to be asked again, None if it names no time.
    """

    def __init__(
        self, message: str, *, origin: str = "", retry_after: float | None = None, retryable: bool = True
    ) -> None:
        super().__init__(message, retryable=retryable)
        self.origin = origin
        self.retry_after = retry_after


class KubernetesApiError(ScriptProviderError):
    """The API server refused a call.

    ``status`` is the HTTP status, 0 without an answer. ``reason`` and ``server_message`` are the
    server's own. ``retry_after`` is the number of seconds after which the server wants to be asked
    again. ``may_have_acted`` says that the server may have done what was asked, because the answer
    to this call, or to one that it repeats, is lost.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        server_message: str = "",
        retry_after: float | None = None,
        may_have_acted: bool = False,
        retryable: bool = True,
    ) -> None:
        super().__init__(message, retryable=retryable)
        self.may_have_acted = may_have_acted
        self.status = status
        self.reason = reason
        self.server_message = server_message
        self.retry_after = retry_after


class ApiUnreachableError(KubernetesApiError):
    """The API server did not answer."""


class NotKubernetesApiError(ApiUnreachableError):
    """Something else answered in the API server's place, such as a proxy with a login page."""


class ApiUnauthorizedError(KubernetesApiError):
    """401: the credentials are missing, wrong or expired."""


class ApiForbiddenError(KubernetesApiError):
    """403: a right is missing, or an admission rule refused the object."""


class ApiNotFoundError(KubernetesApiError):
    """404: the object does not exist."""


class ApiAlreadyExistsError(KubernetesApiError):
    """409 ``AlreadyExists``: an object of that name exists."""


class ApiConflictError(KubernetesApiError):
    """409 for another reason: another writer was faster, or the object has another uid."""


class ApiGoneError(KubernetesApiError):
    """410: the position of a watch is too old; list again."""


class LaunchError(ScriptProviderError):
    """The Job or one of its objects could not be created.

    Nothing of it is left, or the message names what is left.
    """


class TargetError(ScriptProviderError):
    """No running pod or container matches the target; nothing was started."""


class RunError(ScriptProviderError):
    """The run began, in a Job or in a running pod, and did not succeed."""


class ScriptFailedError(RunError):
    """The script failed, in its Job or in a running pod.

    ``result`` is what XCom gets; ``category``, ``reason`` and ``exit_code`` are read from it.
    """

    def __init__(self, message: str, *, result: ScriptResult, retryable: bool = True) -> None:
        super().__init__(message, retryable=retryable)
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_failure, (type(self), self.message, self.result, self.retryable)

    @property
    def category(self) -> Category | None:
        """Why the script failed, in one word of a closed list."""
        return self.result.category

    @property
    def reason(self) -> str | None:
        """Kubernetes' own word for the cause, None if it has none."""
        return self.result.reason

    @property
    def exit_code(self) -> int | None:
        """Exit code of the last attempt's script, None if it never ended by itself."""
        return self.result.exit_code


class JobTimeoutError(ScriptFailedError):
    """The script's timeout ended it."""


class OutcomeUnknownError(ScriptFailedError):
    """How the script ended is unknown.

    Its Job was deleted, its pod did not end, the API server stayed silent, or a connection broke.
    """


class NodesFailedError(RunError):
    """The script failed on some of its nodes.

    ``result`` is what XCom gets; it is empty where the outcome of all nodes is lost.
    """

    def __init__(self, message: str, *, result: Mapping[str, Any] | None = None, retryable: bool = True) -> None:
        super().__init__(message, retryable=retryable)
        self.result: Mapping[str, Any] = {} if result is None else result


class RunKilledError(RunError):
    """The run was ended on request.

    Its Job is deleted, or left to the task's next try. The message says which.
    """


def _rebuild_failure(
    cls: type[ScriptFailedError], message: str, result: ScriptResult, retryable: bool
) -> ScriptFailedError:
    return cls(message, result=result, retryable=retryable)
