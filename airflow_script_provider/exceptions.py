"""Everything that this provider raises on purpose.

::

    ScriptProviderError
    ├── ScriptSourceError              the script could not be read
    ├── KubernetesApiError             the API server said no, or nothing
    │   ├── ApiUnreachableError        no answer: network, TLS, proxy
    │   ├── ApiUnauthorizedError       401
    │   ├── ApiForbiddenError          403, names the missing right
    │   ├── ApiNotFoundError           404
    │   ├── ApiConflictError           409
    │   └── ApiGoneError               410, a watch's position is too old
    ├── LaunchError                    the Job's objects could not be created
    ├── TargetError                    there is no running pod to run in
    └── RunError                       it was begun, and the run did not succeed
        ├── ScriptFailedError             with the result
        │   ├── JobTimeoutError        ended by its deadline
        │   └── OutcomeUnknownError    nobody can tell any more how it ended
        ├── NodesFailedError           on some of several nodes, with the result
        └── RunKilledError             ended on request of Airflow or a user

Misuse of an argument is a plain ``ValueError`` or ``TypeError`` that names the argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_script_provider.result import ScriptResult


class ScriptProviderError(Exception):
    """Root of the tree. ``retryable`` says whether another try of the task can help."""

    retryable = True

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        for name, value in facts.items():
            setattr(self, name, value)

    def __str__(self) -> str:
        return self.message


class ScriptSourceError(ScriptProviderError):
    """The script could not be read.

    ``origin`` says from where it should have come, ``retry_after`` in how many seconds the server wants to be asked
    again.
    """

    origin: str = ""
    retry_after: float | None = None


class KubernetesApiError(ScriptProviderError):
    """The API server refused a call. ``status`` is the HTTP status, 0 without an answer."""

    status: int = 0
    reason: str = ""
    server_message: str = ""
    retry_after: float | None = None


class ApiUnreachableError(KubernetesApiError):
    """No answer from the API server."""


class ApiUnauthorizedError(KubernetesApiError):
    """401: the credentials are missing, wrong or expired."""


class ApiForbiddenError(KubernetesApiError):
    """403: a right is missing, or an admission rule refused the object."""


class ApiNotFoundError(KubernetesApiError):
    """404: the object does not exist."""


class ApiConflictError(KubernetesApiError):
    """409: an object of that name exists already, or another uid than the expected one."""


class ApiGoneError(KubernetesApiError):
    """410: the position of a watch is too old, list again."""


class LaunchError(ScriptProviderError):
    """The Job or one of its objects could not be created; nothing of it is left."""


class TargetError(ScriptProviderError):
    """No running pod or container is what was asked for; nothing was started."""


class RunError(ScriptProviderError):
    """The run was begun, in a Job or in a running pod, and did not succeed."""


class ScriptFailedError(RunError):
    """The script failed, in its Job or in a running pod.

    ``result`` is what XCom gets; ``reason`` and ``exit_code`` are read from it.
    """

    def __init__(self, message: str, *, result: ScriptResult, retryable: bool = True) -> None:
        super().__init__(message, result=result, retryable=retryable)
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_failure, (type(self), self.message, self.result, self.retryable)

    @property
    def reason(self) -> str | None:
        """Kubernetes' word for the cause, such as ``OOMKilled``."""
        return self.result.reason

    @property
    def exit_code(self) -> int | None:
        """Exit code of the last attempt's script, None if it never ended by itself."""
        return self.result.exit_code


class JobTimeoutError(ScriptFailedError):
    """Its timeout ended it."""


class OutcomeUnknownError(ScriptFailedError):
    """How the script ended cannot be told: its Job was deleted, the API server stayed silent, a connection broke."""


class NodesFailedError(RunError):
    """The script failed on some of its nodes. ``result`` is what XCom gets, empty where nothing is known any more."""

    result: Mapping[str, Any] = {}


class RunKilledError(RunError):
    """The run was ended on request; its Job is deleted, or left to the task's next try, as the message says."""


def _rebuild_failure(
    cls: type[ScriptFailedError], message: str, result: ScriptResult, retryable: bool
) -> ScriptFailedError:
    return cls(message, result=result, retryable=retryable)
